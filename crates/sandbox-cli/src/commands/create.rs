//! `sandbox create`: creates a sandbox that outlives this program.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use sandbox::{Client, Sandbox, SandboxBuilder, SandboxId};
use tokio::time::timeout;

use crate::args::id;
use crate::args::pool::PoolOptions;
use crate::args::sandbox::SandboxOptions;
use crate::args::values::{parse_environment, parse_positive_duration};
use crate::exit::Outcome;
use crate::interrupt::{Interrupt, Interrupts};
use crate::openssh::files::SshFiles;
use crate::ui::creation_progress::CreationProgress;
use crate::ui::messages;
use crate::ui::stdio::Stdout;

/// How long deleting a sandbox may take: longer than backends give it, whose errors say more.
const DELETE_TIMEOUT: Duration = Duration::from_secs(200);

/// Create a sandbox and print its id
///
/// The sandbox exists until `sandbox rm`, or until it expires: --ttl, --idle-timeout, SANDBOX_TTL,
/// SANDBOX_IDLE_TIMEOUT, SANDBOX_MAX_LIFETIME (24 hours).
#[derive(clap::Args)]
pub(crate) struct Args {
    #[command(flatten)]
    sandbox: SandboxOptions,
    #[command(flatten)]
    pool: PoolOptions,
    /// Set the id (default: a generated one)
    #[arg(long, alias = "name", conflicts_with = "pool")]
    id: Option<OsString>,
    /// Set an environment variable of every command; NAME alone passes on its value; can be
    /// repeated
    #[arg(short, long = "env", value_name = "NAME=VALUE")]
    env: Vec<OsString>,
    /// End the sandbox when it was not used for this time, such as 30m
    #[arg(long, value_name = "TIME", value_parser = parse_positive_duration)]
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
    if args.sandbox.is_asking() {
        bail!(
            "--egress-ask is not supported, because `create` ends at once; use `sandbox egress --egress-ask ID`"
        );
    }
    let mut builder = args.sandbox.describe(client)?.detached();
    for (name, value) in parse_environment(&args.env)? {
        builder = builder.env(name, value);
    }
    if let Some(idle) = args.idle_timeout {
        builder = builder.idle_timeout(idle);
    }
    match create_sandbox(builder, &args.pool, client, &id, interrupts, quiet).await? {
        Ok(sandbox) => {
            let id = sandbox.id().clone();
            match add_to_ssh(client, &id).await {
                Ok(note) => {
                    if let Some(note) = note.filter(|_| !quiet) {
                        messages::print_note(&note);
                    }
                }
                Err(error) => {
                    messages::print_note(&format!("`ssh {id}.sandbox` will not work: {error:#}"));
                }
            }
            // Without the printed id the sandbox would neither be used nor deleted.
            if let Err(error) = writeln!(Stdout, "{id}").and_then(|()| Stdout.flush()) {
                client.delete_sandbox(&id).await?;
                return Err(error).context("cannot print the id; the sandbox was deleted");
            }
            if let Some(rules) = sandbox.egress().filter(|_| !quiet) {
                messages::print_note(&format!(
                    "sandbox {id} is offline now; it may reach what the rules allow ({rules}) while `sandbox egress {id}` \
                     runs with them"
                ));
            }
            Ok(0)
        }
        Err(interrupt) => Ok(interrupt.exit_code()),
    }
}

/// Makes `ssh ID.sandbox` work at once if `sandbox ssh-config --install` was run. Returns a note if the sandbox has
/// another name for ssh.
async fn add_to_ssh(client: &Client, id: &SandboxId) -> Result<Option<String>> {
    let Ok(files) = SshFiles::from_home() else {
        // Without a home directory nothing was installed.
        return Ok(None);
    };
    let sandbox = files.write_if_installed(client, id).await?;
    Ok(sandbox.and_then(|sandbox| sandbox.note))
}

/// Creates a sandbox with this id, or takes one from the pool in the options, and shows the progress. After a
/// signal, it deletes what was created or taken and returns the signal.
pub(crate) async fn create_sandbox(
    builder: SandboxBuilder,
    pool: &PoolOptions,
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Result<Result<Sandbox, Interrupt>> {
    let progress = CreationProgress::start(quiet);
    let builder = builder.on_event(progress.callback());
    let outcome = tokio::select! {
        sandbox = create_or_take(builder, pool, id) => Ok(sandbox),
        interrupt = interrupts.next() => Err(interrupt),
    };
    // The steps are written before anything else is written to stderr.
    progress.finish().await;
    let interrupt = match outcome {
        Ok(sandbox) => {
            let sandbox = sandbox?;
            if sandbox.info().isolation.kind == "none" && !quiet {
                messages::print_note(
                    "this sandbox is not isolated from this machine (SANDBOX_LOCAL_ISOLATION=none)",
                );
            }
            return Ok(Ok(sandbox));
        }
        Err(interrupt) => interrupt,
    };
    if pool.name().is_some() {
        wait_for_deletions(client, interrupts).await?;
    }
    if pool.name().is_none() || pool.may_create() {
        delete_sandbox(client, id, interrupts).await?;
    }
    Ok(Err(interrupt))
}

async fn create_or_take(
    builder: SandboxBuilder,
    pool: &PoolOptions,
    id: &SandboxId,
) -> sandbox::Result<Sandbox> {
    match pool.claim(builder.clone(), id) {
        Some(claim) => claim.create().await,
        None => builder.id(id).create().await,
    }
}

/// Waits until what a dropped claim had taken is deleted, until a timeout or another signal.
async fn wait_for_deletions(client: &Client, interrupts: &mut Interrupts) -> Result<()> {
    tokio::select! {
        settled = timeout(DELETE_TIMEOUT, client.settle()) => match settled {
            Ok(()) => Ok(()),
            Err(_elapsed) => anyhow::bail!("deleting a sandbox of the pool timed out after {DELETE_TIMEOUT:?}; it ends by itself"),
        },
        _signal = interrupts.next() => anyhow::bail!("interrupted while deleting a sandbox of the pool; it ends by itself"),
    }
}

/// Deletes a sandbox, until a timeout or another signal.
pub(crate) async fn delete_sandbox(
    client: &Client,
    id: &SandboxId,
    interrupts: &mut Interrupts,
) -> Result<()> {
    tokio::select! {
        deleted = timeout(DELETE_TIMEOUT, client.delete_sandbox(id)) => match deleted {
            Ok(deleted) => Ok(deleted?),
            Err(_elapsed) => anyhow::bail!("deleting sandbox {id} timed out after {DELETE_TIMEOUT:?}; it ends by itself"),
        },
        _signal = interrupts.next() => anyhow::bail!("interrupted while deleting sandbox {id}; it ends by itself"),
    }
}
