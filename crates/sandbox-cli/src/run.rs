//! `sandbox run`: a sandbox for one command.

use std::ffi::OsString;
use std::time::Duration;

use anyhow::{Result, bail};
use sandbox::{Client, Sandbox, SandboxBuilder, SandboxId};
use tokio::time::timeout;

use crate::attached::CommandOptions;
use crate::failure::{self, EXIT_FAILURE, Outcome};
use crate::habits;
use crate::interrupt::{Interrupt, Interrupts};
use crate::options::SandboxOptions;
use crate::progress::Progress;

/// How long removing a sandbox may take.
const REMOVAL: Duration = Duration::from_secs(60);

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
    let sandbox = match create(builder, client, &id, interrupts, quiet).await? {
        Ok(sandbox) => sandbox,
        Err(interrupt) => return Ok(interrupt.exit_code()),
    };
    tracing::info!(%id, "created");
    let program = args.command.program();
    let outcome = args.command.run(&sandbox, interrupts).await;
    habits::explain(&outcome, &program, !args.sandbox.names_image());
    match (outcome, remove(client, &id, interrupts).await) {
        (outcome, Ok(())) => outcome,
        (Ok(code), Err(leftover)) => {
            failure::tell(&leftover);
            Ok(if code == 0 { EXIT_FAILURE } else { code })
        }
        (Err(error), Err(leftover)) => {
            failure::tell(&leftover);
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

/// Creates a sandbox, or removes what came of it when a signal interrupts.
pub(crate) async fn create(
    builder: SandboxBuilder,
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Result<Result<Sandbox, Interrupt>> {
    let progress = Progress::begin(quiet);
    let builder = builder.on_event(progress.hook());
    let outcome = tokio::select! {
        sandbox = builder.create() => Ok(sandbox),
        interrupt = interrupts.next() => Err(interrupt),
    };
    // Before anything else is written there.
    progress.end().await;
    let interrupt = match outcome {
        Ok(sandbox) => {
            let sandbox = sandbox?;
            if sandbox.info().isolation.kind == "none" && !quiet {
                failure::note(
                    "nothing separates this sandbox from this machine (SANDBOX_LOCAL_ISOLATION=none)",
                );
            }
            return Ok(Ok(sandbox));
        }
        Err(interrupt) => interrupt,
    };
    remove(client, id, interrupts).await?;
    Ok(Err(interrupt))
}

/// Removes a sandbox whatever happened; only another signal, or time, stops it.
async fn remove(client: &Client, id: &SandboxId, interrupts: &mut Interrupts) -> Result<()> {
    tokio::select! {
        removed = timeout(REMOVAL, client.delete_sandbox(id)) => match removed {
            Ok(removed) => Ok(removed?),
            Err(_elapsed) => anyhow::bail!("sandbox {id} could not be removed within {REMOVAL:?}; it ends by itself"),
        },
        _signal = interrupts.next() => anyhow::bail!("interrupted while removing sandbox {id}; it ends by itself"),
    }
}
