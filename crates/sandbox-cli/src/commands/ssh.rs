//! `sandbox ssh`: logs in with OpenSSH's client.

use std::ffi::OsString;
use std::process::Command;

use anyhow::anyhow;
use sandbox::Client;

use crate::args::id;
use crate::exit::Outcome;
use crate::openssh::files::SshFiles;
use crate::openssh::names::host_name;

/// Log in to a sandbox with OpenSSH's client
///
/// Works like `ssh ID.sandbox` after `sandbox ssh-config --install`, but needs no installation and
/// does not read ~/.ssh/config. The arguments after ID are passed to ssh: options first, then a
/// command.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Id of the sandbox, or the unique beginning of a generated id
    #[arg(value_name = "ID")]
    id: OsString,
    /// Options of ssh, then a command
    #[arg(
        trailing_var_arg = true,
        allow_hyphen_values = true,
        value_name = "ARG"
    )]
    args: Vec<OsString>,
}

pub(crate) async fn run(args: Args, client: &Client) -> Outcome {
    let id = id::resolve(client, &args.id).await?;
    let files = SshFiles::from_home()?;
    let sandbox = files.write(client, &client.access(&id).await?)?;
    let mut ssh = Command::new("ssh");
    // Options may follow the host, because this is OpenSSH's client.
    ssh.arg("-F")
        .arg(sandbox.config)
        .arg(host_name(id.as_str()))
        .args(args.args);
    become_program(ssh)
}

/// Replaces this process by another program.
#[cfg(unix)]
fn become_program(mut program: Command) -> Outcome {
    use std::os::unix::process::CommandExt;
    // exec returns only if it failed.
    Err(describe_start_error(&program.exec()))
}

#[cfg(not(unix))]
fn become_program(mut program: Command) -> Outcome {
    match program.status() {
        Ok(status) => Ok(u8::try_from(status.code().unwrap_or(255)).unwrap_or(255)),
        Err(error) => Err(describe_start_error(&error)),
    }
}

fn describe_start_error(error: &std::io::Error) -> anyhow::Error {
    anyhow!(
        "cannot start ssh: {error}; install OpenSSH's client, or use `sandbox exec -it ID -- sh`"
    )
}
