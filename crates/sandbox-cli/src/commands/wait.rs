//! `sandbox wait`: waits for a job to end.

use std::ffi::OsString;

use sandbox::Client;

use crate::args::id;
use crate::args::job::find_job;
use crate::exit::Outcome;

/// Wait for a job to end
///
/// The exit code is that of the job; 128 plus the signal if a signal ended it; 125 if it is
/// unknown, for example because the sandbox was deleted. Interrupting this command does not affect
/// the job.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Id of the job or a unique prefix of it; by default, the job that was started last
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
