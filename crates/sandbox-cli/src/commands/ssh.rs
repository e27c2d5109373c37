//! `sandbox ssh`: log in with OpenSSH's client.

use std::ffi::OsString;
use std::process::Command;

use anyhow::{Result, bail};
use sandbox::Client;

use crate::args::id;
use crate::exit::Outcome;
use crate::openssh::block::host;
use crate::openssh::files::SshFiles;

/// Log in to a sandbox with OpenSSH's client
///
/// The same as `ssh ID.sandbox` after `sandbox ssh-config --install`, but needs no such thing and
/// reads nothing of your ~/.ssh/config. What follows ID goes to ssh as it is: options first, then a
/// command.
#[derive(clap::Args)]
pub(crate) struct Args {
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

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let files = SshFiles::of_user()?;
    let config = files.write(client, &client.access(&id).await?)?;
    let mut ssh = Command::new("ssh");
    // Options of ssh end where the host begins, and may follow it only in OpenSSH's.
    ssh.arg("-F").arg(config).arg(host(&id)).args(args.args);
    become_program(ssh)
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
