//! `sandbox jobs`, `wait` and `kill`: what runs in a sandbox without a terminal.

use std::ffi::OsString;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use sandbox::{Client, Job, JobRecord, Sandbox, Signal};

use crate::failure::Outcome;
use crate::table::{Format, Table, size, span, to_stdout};
use crate::target;

/// List the jobs of a sandbox, oldest first
///
/// A job is a command that `sandbox exec --detach` or a program started, and that outlives it.
#[derive(clap::Args)]
pub(crate) struct ListArgs {
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

/// Wait for the end of a job; the exit code is the job's own
///
/// 128 plus the signal when one ended it, and 125 when its end cannot be known, as when the sandbox has gone.
/// Interrupting this leaves the job alone.
#[derive(clap::Args)]
pub(crate) struct WaitArgs {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// The job, or the beginning of its id; without, the one that was started last
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

/// Send a signal to a job, and to all that it started
#[derive(clap::Args)]
pub(crate) struct KillArgs {
    /// Which one, such as INT, HUP or KILL
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = signal)]
    signal: Signal,
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// The job, or the beginning of its id; it has to be named
    // Not required here: below there is room to say what may have been meant.
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn list(args: ListArgs, client: &Client) -> Outcome {
    let jobs = target::connect(client, &args.id).await?.jobs().await?;
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

pub(crate) async fn wait(args: WaitArgs, client: &Client) -> Outcome {
    let sandbox = target::connect(client, &args.id).await?;
    Ok(find(&sandbox, args.job.as_deref())
        .await?
        .wait()
        .await?
        .shell_code())
}

pub(crate) async fn kill(args: KillArgs, client: &Client) -> Outcome {
    let Some(job) = args.job else {
        let id = args.id.to_string_lossy();
        bail!(
            "name the job too: `sandbox jobs {id}` lists them; to end the sandbox itself, use `sandbox rm {id}`"
        );
    };
    let sandbox = target::connect(client, &args.id).await?;
    find(&sandbox, Some(&job))
        .await?
        .signal(args.signal)
        .await?;
    Ok(0)
}

/// The job that is meant: by its id, by the beginning of it, or the latest.
///
/// # Errors
///
/// When there is none such, or more than one.
pub(crate) async fn find(sandbox: &Sandbox, text: Option<&str>) -> Result<Job> {
    let jobs = sandbox.jobs().await?;
    let Some(text) = text else {
        let Some(latest) = jobs.last() else {
            bail!(
                "sandbox {} has no jobs: `sandbox exec --detach` starts one",
                sandbox.id()
            );
        };
        return Ok(sandbox.job(latest.id.parse()?));
    };
    let exact = jobs.iter().filter(|job| job.id == text);
    let mut found: Vec<&JobRecord> = exact.collect();
    if found.is_empty() {
        found = jobs
            .iter()
            .filter(|job| !text.is_empty() && job.id.starts_with(text))
            .collect();
    }
    match found.as_slice() {
        [job] => Ok(sandbox.job(job.id.parse()?)),
        [] => bail!(
            "sandbox {} has no job {text:?}: see `sandbox jobs`",
            sandbox.id()
        ),
        several => {
            bail!(
                "{text:?} is the beginning of {} jobs of sandbox {}",
                several.len(),
                sandbox.id()
            )
        }
    }
}

fn state(job: &JobRecord) -> String {
    match (&job.exit_signal, job.exit_code) {
        (Some(signal), _) => format!("killed (SIG{signal})"),
        (None, Some(code)) => format!("exited ({code})"),
        (None, None) => "running".to_owned(),
    }
}

/// A name or a number, as kill(1) takes them. One that Linux has none of would go nowhere.
fn signal(text: &str) -> Result<Signal, String> {
    let signal = match text.parse::<u8>() {
        Ok(number) => Signal::from_number(number),
        Err(_) => text
            .parse()
            .map_err(|error: sandbox::Error| error.to_string())?,
    };
    let known = signal.number().filter(|number| *number > 0);
    known
        .map(|_| signal)
        .ok_or_else(|| "there is no such signal: use a name such as TERM, or its number".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_names_and_numbers() {
        for text in ["TERM", "sigterm", "15"] {
            assert_eq!(signal(text), Ok(Signal::Term), "{text}");
        }
        for text in ["FOO", "0", "99", "-9", ""] {
            assert!(signal(text).is_err(), "{text}");
        }
    }
}
