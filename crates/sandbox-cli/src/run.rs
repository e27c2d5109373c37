//! `sandbox run`: a sandbox for one command.

use std::time::Duration;

use anyhow::Result;
use sandbox::{Client, Sandbox, SandboxBuilder, SandboxId};
use tokio::time::timeout;

use crate::attached::CommandOptions;
use crate::failure::{self, EXIT_FAILURE, Outcome};
use crate::interrupt::{Interrupt, Interrupts};
use crate::options::SandboxOptions;
use crate::progress::Progress;

/// How long removing a sandbox may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// Run a command in a new sandbox, and remove the sandbox afterwards
///
/// Standard input is passed on when it is not a terminal, or with -i or -t. The exit code is the
/// command's own.
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    command: CommandOptions,
}

pub(crate) async fn run(args: Args, client: &Client, interrupts: &mut Interrupts) -> Outcome {
    let id = SandboxId::generate()?;
    let builder = args.sandbox.builder(client, &id)?;
    let sandbox = match create(builder, client, &id, interrupts).await? {
        Ok(sandbox) => sandbox,
        Err(interrupt) => return Ok(interrupt.exit_code()),
    };
    tracing::info!(%id, "created");
    let outcome = args.command.run(&sandbox, interrupts).await;
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

/// Creates a sandbox, or removes what came of it when a signal interrupts.
pub(crate) async fn create(
    builder: SandboxBuilder,
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
) -> Result<Result<Sandbox, Interrupt>> {
    let progress = Progress::begin();
    let builder = builder.on_event(progress.hook());
    let outcome = tokio::select! {
        sandbox = builder.create() => Ok(sandbox),
        interrupt = interrupts.next() => Err(interrupt),
    };
    // Before anything else is written there.
    progress.end().await;
    let interrupt = match outcome {
        Ok(sandbox) => return Ok(Ok(sandbox?)),
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
