//! The one line of the user's own configuration that includes the blocks.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use sandbox::{Access, Endpoint, KeyPair, Uid};

use crate::openssh::block::{self, Block};
use crate::openssh::files::{SshFiles, private_file};
use crate::openssh::{client, quoting};

const REMARK: &str =
    "# Sandboxes, by `sandbox ssh-config`. At the top, for the first that is said counts.";
/// What a block says and need not have its way with: of keys, all that are said are tried, and how often a
/// silent server is asked is a matter of taste.
const NEGOTIABLE: [&str; 3] = ["identityfile", "serveraliveinterval", "serveralivecountmax"];
/// What `ssh -G` calls `PubkeyAcceptedKeyTypes` since OpenSSH 8.5.
const RENAMED: &str = "pubkeyacceptedalgorithms";
/// The name of a block that is there for the trial only.
const TRIAL: &str = "trial-of-ssh-config";

/// The blocks' inclusion at the very top, tried out and not done yet.
pub(crate) struct Installation {
    config: PathBuf,
    before: String,
    /// None where the blocks are included already.
    after: Option<String>,
}

/// Tries on a copy whether ssh takes it, and whether what the blocks say counts. Nothing of the user's
/// is changed.
///
/// # Errors
///
/// When ssh refuses, or something in the file comes first.
pub(crate) fn prepare(files: &SshFiles) -> Result<Installation> {
    let config = files.user_config();
    let before = read(&config)?;
    let line = format!("Include {}", quoting::path(&files.all_blocks())?);
    let there = before.lines().any(|other| other.trim() == line);
    let after = (!there).then(|| format!("{REMARK}\n{line}\n\n{before}"));
    try_out(&config, &before, after.as_ref().unwrap_or(&before), &line)?;
    Ok(Installation {
        config,
        before,
        after,
    })
}

impl Installation {
    /// Does it.
    ///
    /// # Errors
    ///
    /// When the file has changed since it was tried out, or cannot be written.
    pub(crate) fn carry_out(self, files: &SshFiles) -> Result<()> {
        if let Some(after) = &self.after {
            files.make()?;
            if read(&self.config)? != self.before {
                bail!(
                    "{} was changed meanwhile by somebody else: try again",
                    self.config.display()
                );
            }
            replace(&self.config, after)?;
        }
        files.mark_installed()
    }
}

/// Takes the line away, and every key.
///
/// # Errors
///
/// When files cannot be changed.
pub(crate) fn uninstall(files: &SshFiles) -> Result<()> {
    let path = files.user_config();
    let before = read(&path)?;
    let line = format!("Include {}", quoting::path(&files.all_blocks())?);
    let ours = |other: &str| other.trim() == line || other.trim() == REMARK;
    if before.lines().any(ours) {
        let kept: String = before
            .split_inclusive('\n')
            .filter(|other| !ours(other))
            .collect();
        // The empty line that followed ours.
        let kept = kept.strip_prefix('\n').unwrap_or(&kept);
        // With nothing in it, it is as good as gone; what a link leads to is somebody's all the same.
        let removable =
            kept.is_empty() && fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
        if removable {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else {
            replace(&path, kept)?;
        }
    }
    files.remove_all()
}

/// Asks ssh what it makes of a block by itself, and of the block through a copy of the user's file.
fn try_out(config: &Path, before: &str, after: &str, line: &str) -> Result<()> {
    let directory = tempfile::Builder::new()
        .prefix("sandbox-ssh-")
        .tempdir()
        .context("cannot try it out")?;
    let (block, copy) = (
        directory.path().join("block"),
        directory.path().join("config"),
    );
    let host = format!("{TRIAL}.sandbox");
    let text = trial(&host, directory.path())?;
    private_file(&block, &text)?;
    let include = format!("Include {}", quoting::path(&block)?);
    let lines = after.split_inclusive('\n').map(|other| {
        if other.trim() == line {
            &include
        } else {
            other.trim_end_matches('\n')
        }
    });
    private_file(
        &copy,
        &format!("{}\n", lines.collect::<Vec<_>>().join("\n")),
    )?;

    let shown = config.display();
    let refused =
        || format!("ssh does not take what would be included in {shown}; nothing was changed");
    let alone = client::asked(&block, &host).with_context(refused)?;
    if !before.is_empty() {
        client::asked(config, &host).with_context(|| {
            format!("ssh cannot read {shown} as it is; mend that first, for nothing was changed")
        })?;
    }
    let included = client::asked(&copy, &host).with_context(refused)?;
    let decisive = block::keywords(&text).filter(|keyword| !NEGOTIABLE.contains(&keyword.as_str()));
    for keyword in decisive.chain([RENAMED.to_owned()]) {
        let said = client::values(&included, &keyword);
        if said != client::values(&alone, &keyword) {
            bail!(
                "{shown} says something for all hosts before it includes the sandboxes, and the first that is \
                 said counts: {keyword} would be {:?}; move the line\n{line}\nto the top of the file, and try again",
                said.first().unwrap_or(&"nothing")
            );
        }
    }
    Ok(())
}

/// A block as every sandbox's is, of one that nobody has.
fn trial(host: &str, directory: &Path) -> Result<String> {
    let keys = KeyPair::generate()?;
    let access = Access {
        id: TRIAL.parse()?,
        uid: Uid::new("trial"),
        user: "trial".to_owned(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("trial".to_owned()),
    };
    let block = Block {
        host,
        access: &access,
        directory,
        program: Path::new("sandbox"),
        environment: &[],
        remote_command: client::knows_remote_command(),
    };
    block.text("a trial")
}

fn read(path: &Path) -> Result<String> {
    match fs::read_to_string(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(String::new()),
        text => text.with_context(|| format!("cannot read {}", path.display())),
    }
}

/// Where it is a link, as those who keep such files elsewhere have it, the file that it leads to.
fn replace(path: &Path, content: &str) -> Result<()> {
    let real = match fs::canonicalize(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => path.to_owned(),
        real => real.with_context(|| format!("cannot find {}", path.display()))?,
    };
    let mode = fs::metadata(&real)
        .ok()
        .map(|metadata| metadata.permissions());
    private_file(&real, content)?;
    match mode {
        Some(mode) => fs::set_permissions(&real, mode)
            .with_context(|| format!("cannot set the permissions of {}", real.display())),
        None => Ok(()),
    }
}
