//! `sandbox ls`: lists sandboxes.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::Result;
use sandbox::{Client, ListFilter, SandboxId, SandboxInfo, SandboxState};

use crate::args::values::parse_pair;
use crate::exit::Outcome;
use crate::ui::cells::{format_duration, format_labels, format_state};
use crate::ui::printable::Printable;
use crate::ui::table::{self, Table};

/// The interval between two lists with `--watch`. On a cluster, a list needs no request to the API
/// server.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// List sandboxes, oldest first
#[derive(clap::Args)]
pub(crate) struct Args {
    /// List only sandboxes with this label; can be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = parse_pair)]
    labels: Vec<(String, String)>,
    /// Output format (default: table)
    #[arg(short, long, value_enum)]
    output: Option<ListFormat>,
    /// Print only the ids, one per line (same as -o name)
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
    /// Watch for changes until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// Output formats of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum ListFormat {
    Table,
    /// A table with more columns
    Wide,
    Json,
    /// Only the ids
    Name,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    // `sandbox -q ls` sets `quiet`, too; a format that was asked for counts.
    let by_default = if args.quiet {
        ListFormat::Name
    } else {
        ListFormat::Table
    };
    let format = args.output.unwrap_or(by_default);
    let filter = ListFilter::from_labels(args.labels);
    let listed = client.list(filter.clone()).await?;
    if !args.watch {
        return print_list(format, &listed);
    }
    // The columns keep the widths of the first list; later rows may be wider.
    let mut table = Table::default();
    table.push(header(format));
    listed.iter().for_each(|info| table.push(row(format, info)));
    match format {
        ListFormat::Table | ListFormat::Wide => table::print(&table.format())?,
        ListFormat::Json | ListFormat::Name => listed
            .iter()
            .try_fold(0, |_, info| print_change(format, info, &table))?,
    };
    watch(client, filter, format, listed, &table).await
}

async fn watch(
    client: &Client,
    filter: ListFilter,
    format: ListFormat,
    listed: Vec<SandboxInfo>,
    table: &Table,
) -> Outcome {
    let by_id = |listed: Vec<SandboxInfo>| -> BTreeMap<SandboxId, SandboxInfo> {
        listed
            .into_iter()
            .map(|info| (info.id.clone(), info))
            .collect()
    };
    let mut before = by_id(listed);
    loop {
        tokio::time::sleep(POLL_INTERVAL).await;
        let now = by_id(client.list(filter.clone()).await?);
        for (_, deleted) in before
            .iter()
            .filter(|(id, info)| now.get(id).is_none_or(|now| now.uid != info.uid))
        {
            let mut deleted = deleted.clone();
            deleted.state = SandboxState::Ended;
            print_change(format, &deleted, table)?;
        }
        for (_, new) in now.iter().filter(|(id, info)| before.get(id) != Some(info)) {
            print_change(format, new, table)?;
        }
        before = now;
    }
}

fn print_list(format: ListFormat, listed: &[SandboxInfo]) -> Outcome {
    if format == ListFormat::Json {
        return table::print(&Printable::json(listed)?);
    }
    let mut table = Table::default();
    if format != ListFormat::Name {
        table.push(header(format));
    }
    listed.iter().for_each(|info| table.push(row(format, info)));
    table::print(&table.format())
}

fn print_change(format: ListFormat, info: &SandboxInfo, table: &Table) -> Result<u8> {
    match format {
        ListFormat::Json => table::print(&Printable::json_line(info)?),
        ListFormat::Table | ListFormat::Wide | ListFormat::Name => {
            table::print(&table.format_row(row(format, info)))
        }
    }
}

fn header(format: ListFormat) -> Vec<String> {
    let columns: &[&str] = match format {
        ListFormat::Wide => &[
            "ID",
            "STATE",
            "AGE",
            "ENDS IN",
            "IMAGE",
            "LABELS",
            "ADDRESS",
            "USER",
            "ISOLATION",
            "POOL",
            "UID",
        ],
        ListFormat::Name => &["ID"],
        ListFormat::Table | ListFormat::Json => {
            &["ID", "STATE", "AGE", "ENDS IN", "IMAGE", "LABELS"]
        }
    };
    columns.iter().map(|column| (*column).to_owned()).collect()
}

/// The time until the sandbox expires.
fn format_time_left(info: &SandboxInfo, now: SystemTime) -> String {
    let end = info
        .expires_at
        .filter(|_| info.state != SandboxState::Ended);
    end.map_or_else(String::new, |end| {
        format_duration(end.duration_since(now).unwrap_or_default())
    })
}

fn row(format: ListFormat, info: &SandboxInfo) -> Vec<String> {
    let now = SystemTime::now();
    let mut cells = vec![info.id.to_string()];
    if format == ListFormat::Name {
        return cells;
    }
    cells.extend([
        format_state(info),
        format_duration(now.duration_since(info.created_at).unwrap_or_default()),
        format_time_left(info, now),
        info.image.clone().unwrap_or_default(),
        format_labels(info),
    ]);
    if format == ListFormat::Wide {
        let port = info
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        cells.extend([
            info.address
                .as_ref()
                .map_or_else(String::new, |address| format!("{address}{port}")),
            info.user.clone(),
            info.isolation.kind.clone(),
            info.pool
                .as_ref()
                .map_or_else(String::new, |pool| format!("{}/{}", pool.name, pool.state)),
            info.uid.to_string(),
        ]);
    }
    cells
}
