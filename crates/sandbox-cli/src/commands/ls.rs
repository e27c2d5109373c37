//! `sandbox ls`: which sandboxes there are.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sandbox::{Client, ListFilter, SandboxId, SandboxInfo, SandboxState};

use crate::args::values::pair;
use crate::exit::Outcome;
use crate::ui::cells::{labels, span, state};
use crate::ui::table::{Format, Table, to_stdout};

/// How often is looked for changes; on a cluster that asks its API server nothing.
const LOOK: Duration = Duration::from_millis(500);

/// List sandboxes, oldest first
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only those with this label; can be repeated
    #[arg(short, long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// The form to print them in
    #[arg(short, long, value_enum, default_value_t)]
    output: Form,
    /// Only the ids, one a line: -o name
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
    /// Go on, and print each again that changes, until interrupted
    #[arg(short, long)]
    watch: bool,
}

/// The forms that sandboxes can be listed in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, clap::ValueEnum)]
enum Form {
    #[default]
    Table,
    /// A table with more columns
    Wide,
    Json,
    /// Only the ids
    Name,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let form = if args.quiet { Form::Name } else { args.output };
    let filter = ListFilter::from_labels(args.labels);
    let found = client.list(filter.clone()).await?;
    if !args.watch {
        return print(form, &found);
    }
    // Columns as wide as they are now; what comes later may be wider.
    let mut table = Table::default();
    table.row(heading(form));
    found.iter().for_each(|info| table.row(row(form, info)));
    match form {
        Form::Table | Form::Wide => to_stdout(Format::Table, &table.to_string())?,
        _ => found
            .iter()
            .try_fold(0, |_, info| print_change(form, info, &table))?,
    };
    watch(client, filter, form, found, &table).await
}

async fn watch(
    client: &Client,
    filter: ListFilter,
    form: Form,
    found: Vec<SandboxInfo>,
    table: &Table,
) -> Outcome {
    let by_id = |found: Vec<SandboxInfo>| -> BTreeMap<SandboxId, SandboxInfo> {
        found
            .into_iter()
            .map(|info| (info.id.clone(), info))
            .collect()
    };
    let mut before = by_id(found);
    loop {
        tokio::time::sleep(LOOK).await;
        let now = by_id(client.list(filter.clone()).await?);
        for (_, gone) in before
            .iter()
            .filter(|(id, info)| now.get(id).is_none_or(|now| now.uid != info.uid))
        {
            let mut gone = gone.clone();
            gone.state = SandboxState::Ended;
            print_change(form, &gone, table)?;
        }
        for (_, new) in now.iter().filter(|(id, info)| before.get(id) != Some(info)) {
            print_change(form, new, table)?;
        }
        before = now;
    }
}

fn print(form: Form, found: &[SandboxInfo]) -> Outcome {
    if form == Form::Json {
        return to_stdout(
            Format::Json,
            &serde_json::to_string_pretty(found).context("cannot write JSON")?,
        );
    }
    let mut table = Table::default();
    if form != Form::Name {
        table.row(heading(form));
    }
    found.iter().for_each(|info| table.row(row(form, info)));
    to_stdout(Format::Table, &table.to_string())
}

fn print_change(form: Form, info: &SandboxInfo, table: &Table) -> Result<u8> {
    match form {
        Form::Json => to_stdout(
            Format::Json,
            &serde_json::to_string(info).context("cannot write JSON")?,
        ),
        form => to_stdout(Format::Table, &table.aligned(row(form, info))),
    }
}

fn heading(form: Form) -> Vec<String> {
    let columns: &[&str] = match form {
        Form::Wide => &[
            "ID",
            "STATE",
            "AGE",
            "ENDS IN",
            "IMAGE",
            "LABELS",
            "ADDRESS",
            "USER",
            "ISOLATION",
            "UID",
        ],
        Form::Name => &["ID"],
        _ => &["ID", "STATE", "AGE", "ENDS IN", "IMAGE", "LABELS"],
    };
    columns.iter().map(|column| (*column).to_owned()).collect()
}

fn ends_in(info: &SandboxInfo, now: SystemTime) -> String {
    let end = info
        .expires_at
        .filter(|_| info.state != SandboxState::Ended);
    end.map_or_else(String::new, |end| {
        span(end.duration_since(now).unwrap_or_default())
    })
}

fn row(form: Form, info: &SandboxInfo) -> Vec<String> {
    let now = SystemTime::now();
    let mut cells = vec![info.id.to_string()];
    if form == Form::Name {
        return cells;
    }
    cells.extend([
        state(info),
        span(now.duration_since(info.created_at).unwrap_or_default()),
        ends_in(info, now),
        info.image.clone().unwrap_or_default(),
        labels(info),
    ]);
    if form == Form::Wide {
        let port = info
            .port
            .map_or_else(String::new, |port| format!(":{port}"));
        cells.extend([
            info.address
                .as_ref()
                .map_or_else(String::new, |address| format!("{address}{port}")),
            info.user.clone(),
            info.isolation.kind.clone(),
            info.uid.to_string(),
        ]);
    }
    cells
}
