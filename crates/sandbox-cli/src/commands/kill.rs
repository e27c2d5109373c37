//! `sandbox kill`: sends a signal to a job.

use std::ffi::OsString;

use anyhow::bail;
use sandbox::{Client, Signal};

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;

/// Send a signal to a job and the processes that it started
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Signal to send, by name or number, such as INT, HUP or 9
    #[arg(short, long, value_name = "SIGNAL", default_value = "TERM", value_parser = parse_signal)]
    signal: Signal,
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Id of the job or a unique prefix of it (required)
    // It is optional for clap, so that the error below can suggest `sandbox rm`.
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let Some(job) = args.job else {
        let shown = args.id.to_string_lossy();
        bail!(
            "no job given; list the jobs with `sandbox jobs {shown}`, or delete the sandbox with `sandbox rm {shown}`"
        );
    };
    let sandbox = id::connect(client, &args.id).await?;
    find_job(&sandbox, Some(&job))
        .await?
        .signal(args.signal)
        .await?;
    Ok(0)
}

/// Parses the name or number of a signal, as kill(1) does. Unknown signals are rejected here,
/// because the server would ignore them.
fn parse_signal(text: &str) -> Result<Signal, String> {
    let signal = match text.parse::<u8>() {
        Ok(number) => Signal::from_number(number),
        Err(_) => text
            .parse()
            .map_err(|error: sandbox::Error| error.to_string())?,
    };
    if signal.number().is_some_and(|number| number > 0) {
        Ok(signal)
    } else {
        Err("unknown signal; use a name such as TERM, or a number".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_parsed_by_name_and_number() {
        for text in ["TERM", "sigterm", "15"] {
            assert_eq!(parse_signal(text), Ok(Signal::Term), "{text}");
        }
        for text in ["FOO", "0", "99", "-9", ""] {
            assert!(parse_signal(text).is_err(), "{text}");
        }
    }
}
