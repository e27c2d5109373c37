//! `sandbox exec`: a command in a sandbox that exists.

use std::ffi::OsString;

use sandbox::Client;

use crate::attached::CommandOptions;
use crate::failure::Outcome;
use crate::interrupt::Interrupts;
use crate::table::{Format, to_stdout};
use crate::target;

/// Run a command in a sandbox
///
/// Standard input is passed on when it is not a terminal, or with -i or -t. The exit code is the
/// command's own. A command that is interrupted here ends there. ID may be the beginning of an id.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// Leave it running as a job, and print the job's id: see `sandbox logs`
    #[arg(short, long, conflicts_with_all = ["interactive", "tty", "timeout"])]
    detach: bool,
    #[command(flatten)]
    command: CommandOptions,
}

pub(crate) async fn exec(args: Args, client: &Client, interrupts: &mut Interrupts) -> Outcome {
    let sandbox = tokio::select! {
        sandbox = target::connect(client, &args.id) => sandbox?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    if args.detach {
        // Once it is on its way, a signal comes too late to say whether it runs.
        let job = args.command.start(&sandbox).await?;
        return to_stdout(Format::Table, job.id().as_str());
    }
    args.command.run(&sandbox, interrupts).await
}
