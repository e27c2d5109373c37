//! `sandbox run`: a sandbox for one command.

use std::ffi::OsString;

use anyhow::{Result, bail};
use sandbox::{Client, SandboxId};

use crate::args::exec::CommandOptions;
use crate::args::sandbox::SandboxOptions;
use crate::commands::attached::run_attached;
use crate::commands::create::{create_sandbox, delete_sandbox};
use crate::exit::{EXIT_FAILURE, Outcome};
use crate::interrupt::Interrupts;
use crate::ui::docker_hints;
use crate::ui::messages;

/// Run a command in a new sandbox, and remove the sandbox afterwards
///
/// Standard input is passed on when it is not a terminal, or with -i or -t; -n leaves it alone. The exit
/// code is the command's own.
///
/// Control-C goes to the command, which may take its time to end; once more, it ends at once, as it does
/// 3 seconds after any other signal to this program. The sandbox is removed in each case.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    command: CommandOptions,
    /// What happens in any case.
    #[arg(long, hide = true)]
    rm: bool,
    #[arg(long, hide = true)]
    name: Option<OsString>,
    #[arg(short, long, hide = true)]
    detach: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox run -- python3 -c 'print(6*7)'
  sandbox run --image python:3.12-slim --memory 512Mi -e TOKEN -- python3 job.py
  sandbox run -it -- sh
  tar c src | sandbox run --timeout 10m -- sh -c 'tar x && make -C src test'";

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    args.refuse()?;
    let id = SandboxId::generate()?;
    let builder = args.sandbox.builder(client, &id)?;
    let sandbox = match create_sandbox(builder, client, &id, interrupts, quiet).await? {
        Ok(sandbox) => sandbox,
        Err(interrupt) => return Ok(interrupt.exit_code()),
    };
    tracing::info!(%id, "created");
    let program = args.command.program();
    let outcome = run_attached(&args.command, &sandbox, interrupts).await;
    docker_hints::print_hint(&outcome, &program, !args.sandbox.names_image());
    match (outcome, delete_sandbox(client, &id, interrupts).await) {
        (outcome, Ok(())) => outcome,
        (Ok(code), Err(leftover)) => {
            messages::tell(&leftover);
            Ok(if code == 0 { EXIT_FAILURE } else { code })
        }
        (Err(error), Err(leftover)) => {
            messages::tell(&leftover);
            Err(error)
        }
    }
}

impl Args {
    fn refuse(&self) -> Result<()> {
        if self.detach {
            bail!(
                "a sandbox of `run` ends with its command: `sandbox create`, then `sandbox exec --detach ID COMMAND`"
            );
        }
        if self.name.is_some() {
            bail!(
                "a sandbox of `run` is gone before a name is of use: `sandbox create --id NAME` makes one that stays"
            );
        }
        self.command.check()
    }
}
