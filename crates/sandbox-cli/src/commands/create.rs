//! `sandbox create`: a sandbox that stays.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use sandbox::{Client, Sandbox, SandboxBuilder, SandboxId};
use tokio::time::timeout;

use crate::args::id;
use crate::args::sandbox::SandboxOptions;
use crate::args::values::{duration, environment};
use crate::exit::Outcome;
use crate::interrupt::{Interrupt, Interrupts};
use crate::openssh::files::SshFiles;
use crate::ui::creation_progress::CreationProgress;
use crate::ui::messages;

/// How long removing a sandbox may take.
const REMOVAL: Duration = Duration::from_secs(60);

/// Create a sandbox and print its id
///
/// It lives until `sandbox rm`, or until its time is over: --ttl, SANDBOX_TTL or
/// SANDBOX_MAX_LIFETIME (24 hours).
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxOptions,
    /// Its id, in place of a generated one
    #[arg(long, alias = "name")]
    id: Option<OsString>,
    /// Set a variable for every command; NAME alone passes on the value it has here
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// End it when nothing was asked of it for so long, such as 30m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    idle_timeout: Option<Duration>,
}

pub(crate) async fn run(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    let id = match &args.id {
        Some(id) => id::parse_new(id)?,
        None => SandboxId::generate()?,
    };
    let mut builder = args.sandbox.builder(client, &id)?.detached();
    for (name, value) in environment(&args.env)? {
        builder = builder.env(name, value);
    }
    if let Some(idle) = args.idle_timeout {
        builder = builder.idle_timeout(idle);
    }
    match create_sandbox(builder, client, &id, interrupts, quiet).await? {
        Ok(_sandbox) => {
            if let Err(error) = known_to_ssh(client, &id).await {
                messages::note(&format!("ssh does not know it: {error:#}"));
            }
            // Without its id nobody could use it, and it would stay.
            if let Err(error) = writeln!(std::io::stdout(), "{id}") {
                client.delete_sandbox(&id).await?;
                return Err(error).context("cannot print the id, so the sandbox was removed");
            }
            Ok(0)
        }
        Err(interrupt) => Ok(interrupt.exit_code()),
    }
}

/// Where `sandbox ssh-config --install` was said, `ssh ID.sandbox` works at once.
async fn known_to_ssh(client: &Client, id: &SandboxId) -> Result<()> {
    match SshFiles::of_user() {
        Ok(files) => files.write_if_installed(client, id).await,
        // Nothing can have been installed.
        Err(_) => Ok(()),
    }
}

/// Creates a sandbox, or removes what came of it when a signal interrupts.
pub(crate) async fn create_sandbox(
    builder: SandboxBuilder,
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Result<Result<Sandbox, Interrupt>> {
    let progress = CreationProgress::begin(quiet);
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
                messages::note(
                    "nothing separates this sandbox from this machine (SANDBOX_LOCAL_ISOLATION=none)",
                );
            }
            return Ok(Ok(sandbox));
        }
        Err(interrupt) => interrupt,
    };
    delete_sandbox(client, id, interrupts).await?;
    Ok(Err(interrupt))
}

/// Removes a sandbox whatever happened; only another signal, or time, stops it.
pub(crate) async fn delete_sandbox(
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
) -> Result<()> {
    tokio::select! {
        removed = timeout(REMOVAL, client.delete_sandbox(id)) => match removed {
            Ok(removed) => Ok(removed?),
            Err(_elapsed) => anyhow::bail!("sandbox {id} could not be removed within {REMOVAL:?}; it ends by itself"),
        },
        _signal = interrupts.next() => anyhow::bail!("interrupted while removing sandbox {id}; it ends by itself"),
    }
}
