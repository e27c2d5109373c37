//! `sandbox gc`: take away what sandboxes that ended left behind.

use anyhow::Context;
use sandbox::{Client, SweepFailure, SweepOptions};

use crate::exit::{EXIT_FAILURE, Outcome};
use crate::openssh::files::SshFiles;
use crate::ui::messages;
use crate::ui::table::{Format, Table, to_stdout};

/// Remove what sandboxes that have ended left behind, whoever made them
///
/// Prints each with the reason. A sandbox that may still be used is never touched. Run it from time
/// to time where no program watches the sandboxes; deploy/ has a CronJob for a cluster. What cannot be removed
/// is told on standard error, keeps nothing else from being removed, and makes the exit code 125.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tell what would be removed
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// The form to print it in
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let options = if args.dry_run {
        SweepOptions::dry_run()
    } else {
        SweepOptions::default()
    };
    let report = client.sweep(options).await?;
    // Keys for OpenSSH's tools, of sandboxes that somebody else removed.
    if let (false, Ok(files)) = (args.dry_run, SshFiles::of_user()) {
        files.remove_gone(client).await?;
    }
    for SweepFailure { id, error } in &report.failed {
        messages::note(&format!("{id} could not be removed: {error}"));
    }
    let code = if report.failed.is_empty() {
        0
    } else {
        EXIT_FAILURE
    };
    if args.output == Format::Json {
        let json = serde_json::to_string_pretty(&report).context("cannot write JSON")?;
        return Ok(to_stdout(args.output, &json)?.max(code));
    }
    if report.removed.is_empty() {
        return Ok(code);
    }
    let mut table = Table::default();
    table.row(
        [
            if args.dry_run {
                "WOULD REMOVE"
            } else {
                "REMOVED"
            },
            "WHY",
        ]
        .map(str::to_owned),
    );
    for swept in &report.removed {
        table.row([swept.id.to_string(), swept.reason.clone()]);
    }
    Ok(to_stdout(args.output, &table.to_string())?.max(code))
}
