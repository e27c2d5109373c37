//! Installs the line in `~/.ssh/config` that includes the blocks.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sandbox::{Access, Endpoint, KeyPair, Uid};

use crate::openssh::block::{self, Block};
use crate::openssh::files::SshFiles;
use crate::openssh::names::host_name;
use crate::openssh::private_files::write_private_file;
use crate::openssh::{client, quoting};

/// The comment above the line.
const COMMENT: &str =
    "# Added by `sandbox ssh-config`. Keep it at the top: ssh uses the first value that it finds.";
/// Keywords of a block that the user's configuration may set first: ssh tries the keys of all
/// `IdentityFile` lines, and any keepalive interval works.
const OVERRIDABLE: [&str; 3] = ["identityfile", "serveraliveinterval", "serveralivecountmax"];
/// The name of `PubkeyAcceptedKeyTypes` in the output of `ssh -G` since OpenSSH 8.5.
const PUBKEY_ALGORITHMS: &str = "pubkeyacceptedalgorithms";
/// Keywords whose values ssh adds up, as `ssh -G` and as ssh_config(5) write them.
const ADDED_UP: [(&str, &str); 5] = [
    ("sendenv", "SendEnv"),
    ("setenv", "SetEnv"),
    ("remoteforward", "RemoteForward"),
    ("localforward", "LocalForward"),
    ("dynamicforward", "DynamicForward"),
];
/// The id in the block with which the configuration is tested.
const TEST_ID: &str = "trial-of-ssh-config";

/// A tested change of the user's configuration that includes the blocks at the top.
pub(crate) struct Installation {
    /// Settings of the user that reach sandboxes as well, because ssh adds them up.
    pub(crate) added_settings: Vec<String>,
    config: PathBuf,
    before: String,
    /// `None` if the blocks are already included.
    after: Option<String>,
}

/// Tests with a copy whether ssh accepts the changed configuration and uses the values of the
/// blocks. Changes no file of the user.
///
/// # Errors
///
/// If ssh rejects the configuration, or an earlier line in it overrides the blocks.
pub(crate) fn prepare(files: &SshFiles) -> Result<Installation> {
    let config = files.user_config_path();
    let before = read_or_empty(&config)?;
    let line = format!("Include {}", quoting::quote_path(&files.block_pattern())?);
    let is_included = before.lines().any(|other| other.trim() == line);
    let after = (!is_included).then(|| format!("{COMMENT}\n{line}\n\n{before}"));
    let included = test_config(&config, &before, after.as_ref().unwrap_or(&before), &line)?;
    Ok(Installation {
        added_settings: find_added_settings(&included),
        config,
        before,
        after,
    })
}

impl Installation {
    /// Writes the change.
    ///
    /// # Errors
    ///
    /// If the file has changed since the test, or cannot be written.
    pub(crate) fn apply(self, files: &SshFiles) -> Result<()> {
        if let Some(after) = &self.after {
            files.create_directories()?;
            if read_or_empty(&self.config)? != self.before {
                bail!(
                    "{} was changed by another program in the meantime; try again",
                    self.config.display()
                );
            }
            replace(&self.config, after)?;
        }
        files.mark_installed()
    }
}

/// Removes the line, and the keys of all sandboxes.
///
/// # Errors
///
/// If a file cannot be changed.
pub(crate) fn uninstall(files: &SshFiles) -> Result<()> {
    let path = files.user_config_path();
    let before = read_or_empty(&path)?;
    let line = format!("Include {}", quoting::quote_path(&files.block_pattern())?);
    let is_own_line = |other: &str| other.trim() == line || other.trim() == COMMENT;
    if before.lines().any(is_own_line) {
        let rest: String = before
            .split_inclusive('\n')
            .filter(|other| !is_own_line(other))
            .collect();
        // The installed lines were followed by an empty one.
        let rest = rest.strip_prefix('\n').unwrap_or(&rest);
        // An empty file is removed, unless it is a link to a file that the user keeps elsewhere.
        let removable =
            rest.is_empty() && fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.is_file());
        if removable {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else {
            replace(&path, rest)?;
        }
    }
    files.remove_all()
}

/// Compares how ssh reads a block by itself with how it reads the block through a copy of the
/// user's file.
fn test_config(config: &Path, before: &str, after: &str, line: &str) -> Result<String> {
    let directory = tempfile::Builder::new()
        .prefix("sandbox-ssh-")
        .tempdir()
        .context("cannot create a temporary directory")?;
    let block = directory.path().join("block");
    let copy = directory.path().join("config");
    let host = host_name(TEST_ID);
    let text = format_test_block(&host, directory.path())?;
    write_private_file(&block, &text)?;
    let include = format!("Include {}", quoting::quote_path(&block)?);
    let lines = after.split_inclusive('\n').map(|other| {
        if other.trim() == line {
            &include
        } else {
            other.trim_end_matches('\n')
        }
    });
    write_private_file(
        &copy,
        &format!("{}\n", lines.collect::<Vec<_>>().join("\n")),
    )?;

    let shown = config.display();
    let rejected =
        || format!("ssh rejects the lines that would be included in {shown}; nothing was changed");
    let alone = client::read_effective_config(&block, &host).with_context(rejected)?;
    if !before.is_empty() {
        client::read_effective_config(config, &host).with_context(|| {
            format!("ssh cannot read {shown}; fix that first; nothing was changed")
        })?;
    }
    let included = client::read_effective_config(&copy, &host).with_context(rejected)?;
    let required =
        block::keywords(&text).filter(|keyword| !OVERRIDABLE.contains(&keyword.as_str()));
    for keyword in required.chain([PUBKEY_ALGORITHMS.to_owned()]) {
        let values = client::find_values(&included, &keyword);
        if values != client::find_values(&alone, &keyword) {
            bail!(
                "{shown} sets {keyword} to {:?} for all hosts before it includes the sandboxes, and ssh uses the first \
                 value; move the line\n{line}\nto the top of the file, and try again",
                values.first().unwrap_or(&"nothing")
            );
        }
    }
    Ok(included)
}

/// Finds settings that give a sandbox variables of this machine, or ports of it. A block cannot prevent them. Values
/// of variables are not repeated, because they may be secret.
fn find_added_settings(effective: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (keyword, shown) in ADDED_UP {
        for value in client::find_values(effective, keyword) {
            let is_locale = |name: &str| {
                name.starts_with("LC_") || matches!(name, "LANG" | "LANGUAGE" | "COLORTERM")
            };
            let text = match keyword {
                // The locale is not worth a warning, and many systems send it.
                "sendenv" if value.split_whitespace().all(is_locale) => continue,
                "setenv" => match value.split_once('=') {
                    Some((name, _)) if is_locale(name) => continue,
                    Some((name, _)) => name,
                    None => value,
                },
                _ => value,
            };
            let setting = format!("{shown} {text}");
            if !found.contains(&setting) {
                found.push(setting);
            }
        }
    }
    found
}

/// Formats the block of a sandbox that does not exist.
fn format_test_block(host: &str, directory: &Path) -> Result<String> {
    let keys = KeyPair::generate()?;
    let access = Access {
        id: TEST_ID.parse()?,
        uid: Uid::new("test"),
        user: "test".to_owned(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("test".to_owned()),
    };
    let block = Block {
        host,
        access: &access,
        directory,
        program: Path::new("sandbox"),
        environment: &[],
        keywords: client::supported_keywords(),
    };
    block.format("a test")
}

fn read_or_empty(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Replaces a file. If it is a link, as in a dotfiles repository, it replaces the target of the
/// link.
fn replace(path: &Path, content: &str) -> Result<()> {
    let real = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        real => real.with_context(|| format!("cannot find {}", path.display()))?,
    };
    let mode = fs::metadata(&real)
        .ok()
        .map(|metadata| metadata.permissions());
    write_private_file(&real, content)?;
    match mode {
        Some(mode) => fs::set_permissions(&real, mode)
            .with_context(|| format!("cannot set the permissions of {}", real.display())),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_reach_sandboxes_are_found_without_values() {
        let effective = "host x\nsendenv LANG\nsendenv LC_*\nsendenv AWS_*\nsendenv AWS_*\nsetenv TOKEN=hidden\n\
                         setenv LC_ALL=C\nremoteforward 4444 [localhost]:22\nlocalforward 1 [a]:2\n\
                         dynamicforward 1080\nsendenvother x\nforwardagent no\n";
        assert_eq!(
            find_added_settings(effective),
            [
                "SendEnv AWS_*",
                "SetEnv TOKEN",
                "RemoteForward 4444 [localhost]:22",
                "LocalForward 1 [a]:2",
                "DynamicForward 1080"
            ]
        );
    }
}
