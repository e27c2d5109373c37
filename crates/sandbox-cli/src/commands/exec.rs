//! `sandbox exec`: a command in a sandbox that exists.

use std::ffi::OsString;

use sandbox::Client;

use crate::args::exec::CommandOptions;
use crate::args::id;
use crate::commands::attached::run_attached;
use crate::exit::Outcome;
use crate::interrupt::Interrupts;
use crate::ui::docker_hints;
use crate::ui::table::{Format, to_stdout};

/// Run a command in a sandbox
///
/// Standard input is passed on when it is not a terminal, or with -i or -t; -n leaves it alone, as a
/// `while read` loop around this command wants it. The exit code is the command's own. ID may be the
/// beginning of a generated id.
///
/// Control-C goes to the command, which may take its time to end; once more, it ends at once, as it does
/// 3 seconds after any other signal to this program.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
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

const EXAMPLES: &str = "Examples:
  sandbox exec ID -- ls -l
  sandbox exec -it ID -- sh
  sandbox exec -e MODE=ci -w src ID -- make test
  while read file; do sandbox exec -n ID -- process \"$file\"; done < list";

pub(crate) async fn run(args: Args, client: &Client, interrupts: &mut Interrupts) -> Outcome {
    args.command.check()?;
    let sandbox = tokio::select! {
        sandbox = id::connect(client, &args.id) => sandbox?,
        signal = interrupts.next() => return Ok(signal.exit_code()),
    };
    if args.detach {
        // Once it is on its way, a signal comes too late to say whether it runs.
        let job = args.command.start(&sandbox).await?;
        return to_stdout(Format::Table, job.id().as_str());
    }
    let program = args.command.program();
    let outcome = run_attached(&args.command, &sandbox, interrupts).await;
    docker_hints::print_hint(&outcome, &program, false);
    outcome
}
