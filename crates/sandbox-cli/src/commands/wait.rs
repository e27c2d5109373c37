//! `sandbox wait`: the end of a job.

use std::ffi::OsString;

use sandbox::Client;

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;

/// Wait for the end of a job; the exit code is the job's own
///
/// 128 plus the signal when one ended it, and 125 when its end cannot be known, as when the sandbox has gone.
/// Interrupting this leaves the job alone.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// The job, or the beginning of its id; without, the one that was started last
    #[arg(value_name = "JOB")]
    job: Option<String>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let sandbox = id::connect(client, &args.id).await?;
    Ok(find_job(&sandbox, args.job.as_deref())
        .await?
        .wait()
        .await?
        .shell_code())
}
