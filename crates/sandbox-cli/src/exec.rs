//! `sandbox exec`: a command in a sandbox that exists.

use std::ffi::OsString;

use sandbox::Client;

use crate::attached::CommandOptions;
use crate::failure::Outcome;
use crate::interrupt::Interrupts;
use crate::options::sandbox_id;

/// Run a command in a sandbox
///
/// Standard input is passed on when it is not a terminal, or with -i or -t. The exit code is the
/// command's own. A command that is interrupted here ends there.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    #[command(flatten)]
    command: CommandOptions,
}

pub(crate) async fn exec(args: Args, client: &Client, interrupts: &mut Interrupts) -> Outcome {
    let id = sandbox_id(&args.id)?;
    let sandbox = tokio::select! {
        sandbox = client.connect(&id) => sandbox?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    args.command.run(&sandbox, interrupts).await
}
