//! What OpenSSH's client on this machine makes of a configuration.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use anyhow::{Context, Result, bail};

/// Its answer about a host, a keyword and a value on each line, of this file alone.
///
/// # Errors
///
/// When there is no such client, or it cannot read the file, with what it says.
pub(super) fn asked(config: &Path, host: &str) -> Result<String> {
    let output = Command::new("ssh")
        .arg("-G")
        .arg("-F")
        .arg(config)
        .arg(host)
        .stdin(Stdio::null())
        .output();
    let output =
        output.context("cannot ask ssh what it makes of it; is OpenSSH's client installed?")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// What an answer says of a keyword; of some, more than one thing.
pub(super) fn values<'a>(answer: &'a str, keyword: &str) -> Vec<&'a str> {
    answer
        .lines()
        .filter_map(|line| line.strip_prefix(keyword)?.strip_prefix(' '))
        .collect()
}

/// Whether it knows `RemoteCommand`, which came with OpenSSH 7.6. Where there is no client to ask, the
/// configuration is for another machine's, which is hardly older than that.
pub(super) fn knows_remote_command() -> bool {
    static KNOWN: OnceLock<bool> = OnceLock::new();
    *KNOWN.get_or_init(|| {
        let mut ssh = Command::new("ssh");
        ssh.args([
            "-G",
            "-F",
            "none",
            "-o",
            "RemoteCommand=none",
            "any.sandbox",
        ])
        .stdin(Stdio::null());
        ssh.output().map_or(true, |output| output.status.success())
    })
}
