//! `sandbox gc`: deletes sandboxes that have ended.

use sandbox::{Client, SweepFailure, SweepOptions};

use crate::exit::{EXIT_FAILURE, Outcome};
use crate::openssh::files::SshFiles;
use crate::ui::messages;
use crate::ui::printable::Printable;
use crate::ui::table::{Format, Table, print};

/// Delete sandboxes that have ended or expired, and what they left behind
///
/// Includes sandboxes that other users or programs created, but never one that may still be in use.
/// Prints each with the reason. Run it regularly if no program watches the sandboxes; for a
/// cluster, deploy/ has a CronJob. If a sandbox cannot be deleted, an error is printed to stderr,
/// the others are still deleted, and the exit code is 125.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Print what would be deleted, without deleting it
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Output format
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
    // Sandboxes that another program deleted have left keys for OpenSSH.
    if let (false, Ok(files)) = (args.dry_run, SshFiles::from_home()) {
        files.remove_stale(client).await?;
    }
    for SweepFailure { id, error } in &report.failed {
        messages::print_note(&format!("cannot delete sandbox {id}: {error}"));
    }
    let code = if report.failed.is_empty() {
        0
    } else {
        EXIT_FAILURE
    };
    if args.output == Format::Json {
        return Ok(print(&Printable::json(&report)?)?.max(code));
    }
    if report.removed.is_empty() {
        return Ok(code);
    }
    let mut table = Table::default();
    table.push(
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
        table.push([swept.id.to_string(), swept.reason.clone()]);
    }
    Ok(print(&table.format())?.max(code))
}
