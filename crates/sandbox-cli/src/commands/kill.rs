//! `sandbox kill`: a signal to a job.

use std::ffi::OsString;

use anyhow::bail;
use sandbox::{Client, Signal};

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;

/// Send a signal to a job, and to all that it started
#[derive(clap::Args)]
pub(crate) struct Args {
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

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let Some(job) = args.job else {
        let shown = args.id.to_string_lossy();
        bail!(
            "name the job too: `sandbox jobs {shown}` lists them; to end the sandbox itself, use `sandbox rm {shown}`"
        );
    };
    let sandbox = id::connect(client, &args.id).await?;
    find_job(&sandbox, Some(&job))
        .await?
        .signal(args.signal)
        .await?;
    Ok(0)
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
