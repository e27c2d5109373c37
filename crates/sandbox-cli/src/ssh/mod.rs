//! `sandbox ssh`, `ssh-config` and `proxy`: the standard tools, by the name `<id>.sandbox`.

mod block;
mod files;
mod include;
mod openssh;
mod proxy;
mod quoting;

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};
use sandbox::{Client, ListFilter, SandboxId, SandboxState};

use crate::failure::{self, Outcome};
use crate::table::{Format, to_stdout};
use crate::target;

pub(crate) use files::SshFiles;
pub(crate) use proxy::{Args as ProxyArgs, proxy};

/// Log in to a sandbox with OpenSSH's client
///
/// The same as `ssh ID.sandbox` after `sandbox ssh-config --install`, but needs no such thing and
/// reads nothing of your ~/.ssh/config. What follows ID goes to ssh as it is: options first, then a
/// command.
#[derive(clap::Args)]
pub(crate) struct SshArgs {
    /// The sandbox
    #[arg(value_name = "ID")]
    id: OsString,
    /// Options of ssh, and a command
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARG"
    )]
    args: Vec<OsString>,
}

/// Let ssh, scp, sftp, rsync, git and editors reach sandboxes by the name ID.sandbox
///
/// Prints a Host block for each sandbox, for ssh_config(5). With --install, ~/.ssh/config includes
/// these blocks from then on, also those of sandboxes that `sandbox create` makes later. The keys lie in
/// ~/.ssh/sandbox, and go when the sandbox is removed.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ConfigArgs {
    /// The sandboxes; without any, all that can be reached
    #[arg(value_name = "ID")]
    ids: Vec<OsString>,
    /// Include the blocks at the top of ~/.ssh/config, in place of printing them
    #[arg(long)]
    install: bool,
    /// Take back what --install did, and remove all keys
    #[arg(long, conflicts_with_all = ["install", "ids"])]
    uninstall: bool,
}

const EXAMPLES: &str = "Examples:
  sandbox ssh-config --install        # then: ssh ID.sandbox
  rsync -a src/ ID.sandbox:src        # and so with scp, sftp, git and editors
  sandbox ssh-config ID > block && ssh -F block ID.sandbox
  sandbox ssh-config --uninstall";

pub(crate) async fn ssh(args: SshArgs, client: &Client) -> Outcome {
    let id = target::find(client, &args.id).await?;
    let files = SshFiles::of_user()?;
    let config = files.write(client, &client.access(&id).await?)?;
    let mut ssh = Command::new("ssh");
    // Options of ssh end where the host begins, and may follow it only in OpenSSH's.
    ssh.arg("-F").arg(config).arg(host(&id)).args(args.args);
    become_program(ssh)
}

pub(crate) async fn config(args: ConfigArgs, client: &Client) -> Outcome {
    let files = SshFiles::of_user()?;
    if args.uninstall {
        include::uninstall(&files)?;
        return Ok(0);
    }
    let ids = meant(&args.ids, client).await?;
    // Before anything is written: what is refused changes nothing.
    let installation = if args.install {
        Some(include::prepare(&files)?)
    } else {
        None
    };
    let mut blocks = Vec::new();
    let mut reachable = Vec::new();
    for id in ids {
        match client.access(&id).await {
            Ok(access) => blocks.push(std::fs::read_to_string(files.write(client, &access)?)?),
            // Nobody asked for this one: its key may be another program's, or its server not there yet.
            Err(error) if args.ids.is_empty() => {
                failure::note(&format!("left out {id}: {:#}", anyhow::Error::new(error)));
                continue;
            }
            Err(error) => return Err(error.into()),
        }
        reachable.push(id);
    }
    let Some(installation) = installation else {
        return to_stdout(Format::Table, &blocks.join("\n"));
    };
    installation.carry_out(&files)?;
    match reachable.as_slice() {
        [] => failure::note(
            "installed: sandboxes that `sandbox create` makes can be reached as ssh ID.sandbox",
        ),
        [id, ..] => failure::note(&format!("installed: try `ssh {}`", host(id))),
    }
    Ok(0)
}

/// Those that were named, or all that have not ended.
async fn meant(texts: &[OsString], client: &Client) -> Result<Vec<SandboxId>> {
    if texts.is_empty() {
        let found = client.list(ListFilter::default()).await?;
        return Ok(found
            .into_iter()
            .filter(|info| info.state != SandboxState::Ended)
            .map(|info| info.id)
            .collect());
    }
    let mut ids = Vec::new();
    for text in texts {
        ids.push(target::find(client, text).await?);
    }
    Ok(ids)
}

/// The name that a sandbox is reached by.
fn host(id: &SandboxId) -> String {
    format!("{id}.sandbox")
}

/// Goes on as another program.
#[cfg(unix)]
fn become_program(mut program: Command) -> Outcome {
    use std::os::unix::process::CommandExt;
    // It returns only when that failed.
    not_there(&program.exec())
}

#[cfg(not(unix))]
fn become_program(mut program: Command) -> Outcome {
    match program.status() {
        Ok(status) => Ok(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255)),
        Err(error) => not_there(&error),
    }
}

fn not_there<T>(error: &std::io::Error) -> Result<T> {
    bail!("cannot start ssh: {error}; install OpenSSH's client, or use `sandbox exec -it ID -- sh`")
}
