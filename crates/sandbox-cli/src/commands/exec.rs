//! `sandbox exec`: runs a command in an existing sandbox.

use std::ffi::OsString;

use sandbox::Client;

use crate::args::exec::CommandOptions;
use crate::args::id;
use crate::commands::attached::run_attached;
use crate::exit::Outcome;
use crate::interrupt::Interrupts;
use crate::ui::docker_hints;
use crate::ui::printable::Printable;
use crate::ui::table::print;

/// Run a command in a sandbox
///
/// Stdin is forwarded if it is not a terminal, or with -i or -t. Use -n in a `while read` loop, so
/// that the command does not consume the input of the loop. The exit code is that of the command.
///
/// Ctrl-C interrupts the command; press it again to kill it. After any other signal to this
/// program, the command has 3 seconds to end.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Start the command as a job, print the id of the job and exit (see `sandbox logs`)
    #[arg(short, long, conflicts_with_all = ["interactive", "tty", "timeout"])]
    detach: bool,
    #[command(flatten)]
    command: CommandOptions,
}

const EXAMPLES: &str = "Examples:
  sandbox exec ID -- ls -l
  sandbox exec -it ID -- sh
  sandbox exec -e MODE=ci -w src ID -- make test
  while read file; do sandbox exec -n ID -- process \"$file\"; done < list";

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    args.command.check()?;
    let sandbox = tokio::select! {
        sandbox = id::connect(client, &args.id) => sandbox?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    if args.detach {
        // This ignores signals, because after one it would be unknown whether the job was started.
        let job = args.command.start_job(&sandbox).await?;
        return print(&Printable::line(job.id().as_str()));
    }
    let program = args.command.program();
    let outcome = run_attached(&args.command, &sandbox, interrupts, quiet).await;
    docker_hints::print_hint(&outcome, &program, false);
    outcome
}
