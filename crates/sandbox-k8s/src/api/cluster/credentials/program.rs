//! Runs the credential program of a kubeconfig (`exec`), as client-go does it.
//! <https://kubernetes.io/docs/reference/access-authn-authz/authentication/#client-go-credential-plugins>
//!
//! The standard input of this program belongs to the command in the sandbox, so the credential program gets
//! it only if it is a terminal, and only before the first request. What it writes to stderr may be a token,
//! so it is shown to a person at a terminal, and otherwise discarded.

use std::ffi::{OsStr, OsString};
use std::io::{ErrorKind, IsTerminal};
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use kube::config::{ExecConfig, ExecInteractiveMode};
use serde_json::Value;
use tokio::io::AsyncReadExt;
use tokio::process::Command;

use super::exec_credential::{INPUT_VARIABLE, ReturnedCredentials, format_input, parse_output};
use crate::api::cluster::errors::{CredentialError, flatten};

/// How much a program may write. A certificate chain has some kilobytes.
const MAX_OUTPUT: u64 = 1 << 20;

/// Timeout of a program that a person can see, who may have to log in with a browser.
const ATTENDED_TIMEOUT: Duration = Duration::from_secs(600);

/// The versions of the protocol. They differ in nothing that is used here.
const API_VERSIONS: [&str; 3] = [
    "client.authentication.k8s.io/v1",
    "client.authentication.k8s.io/v1beta1",
    "client.authentication.k8s.io/v1alpha1",
];

/// A program that prints credentials.
#[derive(Clone)]
pub(super) struct CredentialProgram {
    command: String,
    args: Vec<String>,
    environment: Vec<(String, String)>,
    api_version: String,
    mode: ExecInteractiveMode,
    cluster: Option<Value>,
    install_hint: Option<String>,
}

/// Whether a program may ask on the terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Terminal {
    Available,
    /// What is typed may already be meant for a command in a sandbox.
    InUse,
}

impl CredentialProgram {
    /// Reads the entry of a kubeconfig. Relative paths are already resolved.
    ///
    /// # Errors
    ///
    /// If the entry has no command, or a version of the protocol that is not known.
    pub(super) fn from_kubeconfig(exec: &ExecConfig) -> Result<Self, CredentialError> {
        let filled = |text: &Option<String>| text.clone().filter(|text| !text.is_empty());
        let command = filled(&exec.command).ok_or_else(|| {
            CredentialError::new("the credential program of the kubeconfig has no command")
        })?;
        let api_version = filled(&exec.api_version).ok_or_else(|| {
            CredentialError::new(format!(
                "{command}, the credential program of the kubeconfig, has no apiVersion; set {}",
                API_VERSIONS[0]
            ))
        })?;
        if !API_VERSIONS.contains(&api_version.as_str()) {
            return Err(CredentialError::new(format!(
                "{command}, the credential program of the kubeconfig, has the unknown apiVersion {}; use {}",
                flatten(&api_version),
                API_VERSIONS[0]
            )));
        }
        let pairs = exec.env.iter().flatten().map(|entry| {
            let text = |key: &str| entry.get(key).cloned().unwrap_or_default();
            (text("name"), text("value"))
        });
        let cluster = match &exec.cluster {
            Some(cluster) => Some(serde_json::to_value(cluster).map_err(|error| {
                CredentialError::new(format!("the cluster's entry of the kubeconfig: {error}"))
            })?),
            None => None,
        };
        Ok(Self {
            args: exec.args.clone().unwrap_or_default(),
            environment: pairs.filter(|(name, _)| !name.is_empty()).collect(),
            api_version,
            mode: exec
                .interactive_mode
                .clone()
                .unwrap_or(ExecInteractiveMode::IfAvailable),
            cluster,
            install_hint: filled(&exec.install_hint),
            command,
        })
    }

    /// Runs the program, and ends it if it has not finished after `limit`. A person at a terminal has more
    /// time. If the future is dropped, the program is ended.
    ///
    /// # Errors
    ///
    /// If it cannot be started, fails, or returns no credentials. The error has nothing of its output.
    pub(super) async fn run(
        &self,
        terminal: Terminal,
        limit: Duration,
    ) -> Result<ReturnedCredentials, CredentialError> {
        let has_terminal = std::io::stdin().is_terminal();
        let is_interactive = self.is_interactive(terminal, has_terminal)?;
        let is_visible = std::io::stderr().is_terminal();
        let mut command = self.command(is_interactive, is_visible);
        let limit = if is_interactive || is_visible {
            limit.max(ATTENDED_TIMEOUT)
        } else {
            limit
        };
        let (status, output) = tokio::time::timeout(limit, self.collect_output(&mut command))
            .await
            .map_err(|_elapsed| {
                self.error(format!(
                    "has not finished within {limit:?}; run kubectl once, log in if it asks for that, and retry"
                ))
            })??;
        if !status.success() {
            let hint = if is_visible {
                "see its message above"
            } else {
                "run kubectl to see its message, or log in again"
            };
            return Err(self.error(format!("failed with {status}; {hint}")));
        }
        parse_output(&output).ok_or_else(|| self.error("wrote no credentials; log in again".into()))
    }

    /// Returns whether the program gets the standard input.
    fn is_interactive(
        &self,
        terminal: Terminal,
        has_terminal: bool,
    ) -> Result<bool, CredentialError> {
        let is_available = has_terminal && terminal == Terminal::Available;
        match self.mode {
            ExecInteractiveMode::Never => Ok(false),
            ExecInteractiveMode::IfAvailable => Ok(is_available),
            ExecInteractiveMode::Always if is_available => Ok(true),
            ExecInteractiveMode::Always if has_terminal => Err(self.error(
                "asks for something (interactiveMode Always), but what is typed now is for a command in a \
                 sandbox; start this program again"
                    .into(),
            )),
            ExecInteractiveMode::Always => Err(self.error(
                "asks for something (interactiveMode Always), but the standard input is not a terminal; run \
                 this program in one"
                    .into(),
            )),
        }
    }

    fn command(&self, is_interactive: bool, is_visible: bool) -> Command {
        let path = std::env::var_os("PATH");
        let mut command = Command::new(find_program(&self.command, path.as_deref()));
        let input = format_input(&self.api_version, is_interactive, self.cluster.as_ref());
        let inherit_if = |condition: bool| match condition {
            true => Stdio::inherit(),
            false => Stdio::null(),
        };
        command
            .args(&self.args)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env(INPUT_VARIABLE, input)
            .stdin(inherit_if(is_interactive))
            .stdout(Stdio::piped())
            .stderr(inherit_if(is_visible))
            .kill_on_drop(true);
        command
    }

    async fn collect_output(
        &self,
        command: &mut Command,
    ) -> Result<(ExitStatus, Vec<u8>), CredentialError> {
        let start_error = |error: std::io::Error| self.start_error(&error);
        let mut child = command.spawn().map_err(start_error)?;
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let mut limited = stdout.take(MAX_OUTPUT + 1);
            limited
                .read_to_end(&mut output)
                .await
                .map_err(start_error)?;
        }
        if output.len() as u64 > MAX_OUTPUT {
            return Err(self.error(format!("wrote more than {MAX_OUTPUT} bytes")));
        }
        Ok((child.wait().await.map_err(start_error)?, output))
    }

    fn start_error(&self, error: &std::io::Error) -> CredentialError {
        let hint = match &self.install_hint {
            Some(hint) => flatten(hint),
            None if error.kind() == ErrorKind::NotFound => {
                "install it, or write its path into the kubeconfig".to_owned()
            }
            None => "check it with kubectl".to_owned(),
        };
        self.error(format!("cannot be started: {error}; {hint}"))
    }

    /// The program is named without its arguments, which may be confidential.
    fn error(&self, reason: String) -> CredentialError {
        let name = flatten(&self.command);
        CredentialError::new(format!(
            "{name}, the credential program of the kubeconfig, {reason}"
        ))
    }
}

/// Finds a program without a directory in `PATH`, as Go does: in that of this process, also if the program's
/// own environment has another one, and never in the working directory.
fn find_program(command: &str, path: Option<&OsStr>) -> OsString {
    let has_directory = command.contains(std::path::is_separator);
    let found = path.filter(|_| !has_directory).and_then(|path| {
        std::env::split_paths(path)
            .filter(|directory| directory.is_absolute())
            .map(|directory| directory.join(command))
            .find(is_executable)
    });
    found.map_or_else(|| command.into(), PathBuf::into_os_string)
}

#[cfg(unix)]
fn is_executable(program: &PathBuf) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(program)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// The operating system adds the ending of the name, so the search is left to it.
#[cfg(not(unix))]
fn is_executable(_program: &PathBuf) -> bool {
    false
}

#[cfg(test)]
#[cfg(unix)]
mod tests;
