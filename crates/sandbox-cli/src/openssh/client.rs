//! Asks OpenSSH's client how it reads a configuration.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Returns the effective configuration of a host in this file (`ssh -G`): on each line a keyword
/// and a value.
///
/// # Errors
///
/// If the client is not installed, or rejects the file; the message is that of the client.
pub(super) fn read_effective_config(config: &Path, host: &str) -> Result<String> {
    let output = Command::new("ssh")
        .arg("-G")
        .arg("-F")
        .arg(config)
        .arg(host)
        .stdin(Stdio::null())
        .output();
    let output = output.context("cannot run `ssh -G`; install OpenSSH's client")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The values of a keyword in an effective configuration. Some keywords have more than one.
pub(super) fn find_values<'a>(config: &'a str, keyword: &str) -> Vec<&'a str> {
    config
        .lines()
        .filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
        .collect()
}

/// The keywords that not every client supports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SupportedKeywords {
    /// Since OpenSSH 7.6.
    pub(super) remote_command: bool,
    /// Since OpenSSH 8.5.
    pub(super) known_hosts_command: bool,
}

/// Asks the client which keywords it supports. If no client is installed, the configuration is for
/// another machine, whose client is assumed to be newer.
pub(super) fn supported_keywords() -> SupportedKeywords {
    static SUPPORTED: OnceLock<SupportedKeywords> = OnceLock::new();
    *SUPPORTED.get_or_init(|| SupportedKeywords {
        remote_command: accepts("RemoteCommand=none"),
        known_hosts_command: accepts("KnownHostsCommand=none"),
    })
}

fn accepts(option: &str) -> bool {
    let mut ssh = Command::new("ssh");
    ssh.args(["-G", "-F", "none", "-o", option, "any.sandbox"])
        .stdin(Stdio::null());
    ssh.output().map_or(true, |output| output.status.success())
}
