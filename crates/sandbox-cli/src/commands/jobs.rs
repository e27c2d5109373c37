//! `sandbox jobs`, `wait` and `kill`: what runs in a sandbox without a terminal.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use sandbox::{Client, JobRecord};

use crate::args::id;
use crate::exit::Outcome;
use crate::ui::cells::{size, span};
use crate::ui::table::{Format, Table, to_stdout};

/// List the jobs of a sandbox, oldest first
///
/// A job is a command that `sandbox exec --detach` or a program started, and that outlives it.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// The form to print them in
    #[arg(short, long, value_enum, default_value_t)]
    output: Format,
    /// Only the ids, one a line
    #[arg(short, long, conflicts_with = "output")]
    quiet: bool,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let jobs = id::connect(client, &args.id).await?.jobs().await?;
    if args.quiet {
        let ids: Vec<&str> = jobs.iter().map(|job| job.id.as_str()).collect();
        return to_stdout(Format::Table, &ids.join("\n"));
    }
    if args.output == Format::Json {
        return to_stdout(
            args.output,
            &serde_json::to_string_pretty(&jobs).context("cannot write JSON")?,
        );
    }
    let mut table = Table::default();
    table.row(["JOB", "STATE", "STARTED", "PID", "LOG", "PROGRAM"].map(str::to_owned));
    for job in jobs {
        let started = UNIX_EPOCH.checked_add(Duration::from_millis(job.started_ms));
        let age = started.and_then(|at| SystemTime::now().duration_since(at).ok());
        table.row([
            job.id.clone(),
            state(&job),
            age.map_or_else(String::new, |age| format!("{} ago", span(age))),
            job.pid.to_string(),
            size(job.log_bytes),
            job.program,
        ]);
    }
    to_stdout(args.output, &table.to_string())
}

fn state(job: &JobRecord) -> String {
    match (&job.exit_signal, job.exit_code) {
        (Some(signal), _) => format!("killed (SIG{signal})"),
        (None, Some(code)) => format!("exited ({code})"),
        (None, None) => "running".to_owned(),
    }
}
