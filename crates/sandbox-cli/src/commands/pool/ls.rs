//! `sandbox pool ls`: lists pools.

use std::time::SystemTime;

use sandbox::{Client, PoolSummary, rfc3339};
use serde_json::{Value, json};

use crate::exit::Outcome;
use crate::ui::cells::format_duration;
use crate::ui::printable::Printable;
use crate::ui::table::{Format, Table, print};

/// List the pools, by name
///
/// A pool whose sandboxes were changed is listed once more, with the former key, while the former
/// sandboxes are being deleted or used. OLDEST is how long the oldest one waits.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Output format (default: table)
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Print only the names, one per line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let pools = client.list_pools().await?;
    // `sandbox -q pool ls` sets `quiet`, too; a format that was asked for counts.
    if args.quiet && args.output.is_none() {
        let mut names: Vec<_> = pools.iter().map(|pool| pool.name.as_str()).collect();
        names.dedup();
        let lines = names.into_iter().fold(Printable::default(), |lines, name| {
            lines.with(&Printable::line(name)).with_trusted("\n")
        });
        return print(&lines);
    }
    if args.output == Some(Format::Json) {
        let pools: Vec<Value> = pools.iter().map(to_json).collect();
        return print(&Printable::json(&pools)?);
    }
    let mut table = Table::default();
    let header = [
        "NAME", "KEY", "WAITING", "FILLING", "TAKEN", "DRAINING", "OLDEST", "FILLER",
    ];
    table.push(header.map(str::to_owned));
    let now = SystemTime::now();
    for pool in pools {
        let oldest = pool
            .oldest
            .and_then(|oldest| now.duration_since(oldest).ok());
        table.push([
            pool.name.to_string(),
            pool.key.map_or_else(String::new, |key| key.to_string()),
            pool.waiting.to_string(),
            pool.filling.to_string(),
            pool.taken.to_string(),
            pool.draining.to_string(),
            oldest.map_or_else(String::new, format_duration),
            pool.filler.unwrap_or_default(),
        ]);
    }
    print(&table.format())
}

fn to_json(pool: &PoolSummary) -> Value {
    json!({
        "name": pool.name.as_str(),
        "key": pool.key.as_ref().map(ToString::to_string),
        "waiting": pool.waiting,
        "filling": pool.filling,
        "taken": pool.taken,
        "draining": pool.draining,
        "oldest": pool.oldest.map(rfc3339),
        "filler": pool.filler,
    })
}
