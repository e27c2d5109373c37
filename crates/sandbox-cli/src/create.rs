//! `sandbox create`: a sandbox that stays.

use std::ffi::OsString;
use std::io::Write;
use std::time::Duration;

use anyhow::Context;
use sandbox::{Client, SandboxId};

use crate::failure::{self, Outcome};
use crate::interrupt::Interrupts;
use crate::options::{SandboxOptions, duration, environment, new_id};
use crate::run;
use crate::ssh::SshFiles;

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

pub(crate) async fn create(
    args: Args,
    client: &Client,
    interrupts: &mut Interrupts,
    quiet: bool,
) -> Outcome {
    let id = match &args.id {
        Some(id) => new_id(id)?,
        None => SandboxId::generate()?,
    };
    let mut builder = args.sandbox.builder(client, &id)?.detached();
    for (name, value) in environment(&args.env)? {
        builder = builder.env(name, value);
    }
    if let Some(idle) = args.idle_timeout {
        builder = builder.idle_timeout(idle);
    }
    match run::create(builder, client, &id, interrupts, quiet).await? {
        Ok(_sandbox) => {
            if let Err(error) = known_to_ssh(client, &id).await {
                failure::note(&format!("ssh does not know it: {error:#}"));
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
async fn known_to_ssh(client: &Client, id: &SandboxId) -> anyhow::Result<()> {
    match SshFiles::of_user() {
        Ok(files) => files.write_if_installed(client, id).await,
        // Nothing can have been installed.
        Err(_) => Ok(()),
    }
}
