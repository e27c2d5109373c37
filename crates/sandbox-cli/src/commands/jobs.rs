//! `sandbox jobs`: lists the jobs of a sandbox.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox::{Client, JobRecord};

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::cells::{format_duration, format_size};
use crate::ui::printable::Printable;
use crate::ui::table::{Format, Table, print};

/// List the jobs of a sandbox, oldest first
///
/// A job is a command that was started with `sandbox exec --detach` or by a program, and outlives
/// it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Output format (default: table)
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    /// Print only the ids, one per line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let jobs = id::connect(client, &args.id).await?.jobs().await?;
    // `sandbox -q jobs` sets `quiet`, too; a format that was asked for counts.
    if args.quiet && args.output.is_none() {
        let ids = jobs.iter().map(|job| Printable::line(&job.id));
        let lines = ids.fold(Printable::default(), |lines, id| {
            lines.with(&id).with_trusted("\n")
        });
        return print(&lines);
    }
    if args.output == Some(Format::Json) {
        return print(&Printable::json(&jobs)?);
    }
    let mut table = Table::default();
    table.push(["JOB", "STATE", "STARTED", "PID", "LOG", "PROGRAM"].map(str::to_owned));
    for job in jobs {
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(job.started_ms));
        let age = started.and_then(|at| SystemTime::now().duration_since(at).ok());
        table.push([
            job.id.clone(),
            describe_state(&job),
            age.map_or_else(String::new, |age| format!("{} ago", format_duration(age))),
            job.pid.to_string(),
            describe_log(&job),
            job.program.to_string(),
        ]);
    }
    print(&table.format())
}

/// The size of the log, and of the output if the log does not have all of it.
fn describe_log(job: &JobRecord) -> String {
    match job.dropped_bytes {
        0 => format_size(job.log_bytes),
        dropped => format!(
            "{} of {}",
            format_size(job.log_bytes),
            format_size(job.log_bytes.saturating_add(dropped))
        ),
    }
}

fn describe_state(job: &JobRecord) -> String {
    match (&job.exit_signal, job.exit_code) {
        (Some(signal), _) => format!("killed (SIG{signal})"),
        (None, Some(code)) => format!("exited ({code})"),
        (None, None) => "running".to_owned(),
    }
}
