//! `sandbox ls`: which sandboxes there are.

use std::time::SystemTime;

use anyhow::Context;
use sandbox::{Client, ListFilter};

use crate::failure::Outcome;
use crate::options::pair;
use crate::table::{Format, Table, labels, span, state, to_stdout};

/// List sandboxes, oldest first
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only those with this label; can be repeated
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// The form to print them in
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Only the ids, one a line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

pub(crate) async fn list(args: Args, client: &Client) -> Outcome {
    let found = client.list(ListFilter::labels(args.labels)).await?;
    if args.quiet {
        let ids: Vec<&str> = found.iter().map(|info| info.id.as_str()).collect();
        return to_stdout(Format::Table, &ids.join("\n"));
    }
    if args.output == Format::Json {
        return to_stdout(args.output, &serde_json::to_string_pretty(&found).context("cannot write JSON")?);
    }
    let now = SystemTime::now();
    let mut table = Table::default();
    table.row(["ID", "STATE", "AGE", "ENDS IN", "IMAGE", "LABELS"].map(str::to_owned));
    for info in &found {
        table.row([
            info.id.to_string(),
            state(info),
            span(now.duration_since(info.created_at).unwrap_or_default()),
            info.expires_at.map_or_else(String::new, |end| span(end.duration_since(now).unwrap_or_default())),
            info.image.clone().unwrap_or_default(),
            labels(info),
        ]);
    }
    to_stdout(args.output, &table.to_string())
}
