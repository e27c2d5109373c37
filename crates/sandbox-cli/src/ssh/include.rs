//! The one line of the user's own configuration that includes the blocks.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use sandbox::{Access, Endpoint, KeyPair, Uid};

use super::block::{self, Block};
use super::files::{SshFiles, private_directory, private_file};

const REMARK: &str = "# Sandboxes, by `sandbox ssh-config`. At the top, for the first that is said counts.";
/// What must be as a block says it; the words of `ssh -G`.
const DECISIVE: [&str; 12] = [
    "hostname",
    "user",
    "port",
    "hostkeyalias",
    "proxycommand",
    "identitiesonly",
    "userknownhostsfile",
    "stricthostkeychecking",
    "forwardagent",
    "forwardx11",
    "controlpath",
    "pubkeyauthentication",
];
/// The name of a block that is there for the trial only.
const TRIAL: &str = "trial-of-ssh-config";

/// Includes the blocks at the very top, and sees that they count.
///
/// # Errors
///
/// When the file cannot be written, or something in it comes first.
pub(super) fn install(files: &SshFiles) -> Result<()> {
    let path = files.user_config();
    files.mark_installed()?;
    let before = read(&path)?;
    let line = format!("Include {}", block::path(&files.all_blocks())?);
    if !before.lines().any(|other| other.trim() == line) {
        let after = format!("{REMARK}\n{line}\n\n{before}");
        replace(&path, &after)?;
    }
    try_out(files, &path, &line)
}

/// Takes the line away, and every key.
///
/// # Errors
///
/// When files cannot be changed.
pub(super) fn uninstall(files: &SshFiles) -> Result<()> {
    let path = files.user_config();
    let before = read(&path)?;
    let line = format!("Include {}", block::path(&files.all_blocks())?);
    let ours = |other: &str| other.trim() == line || other.trim() == REMARK;
    if before.lines().any(ours) {
        let kept: String = before.split_inclusive('\n').filter(|other| !ours(other)).collect();
        // The empty line that followed ours.
        let kept = kept.strip_prefix('\n').unwrap_or(&kept);
        // With nothing in it, it is as good as gone; what a link leads to is somebody's all the same.
        let removable = kept.is_empty() && fs::symlink_metadata(&path).is_ok_and(|there| there.is_file());
        if removable {
            fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
        } else {
            replace(&path, kept)?;
        }
    }
    files.remove_all()
}

/// Asks ssh what it makes of a block through the user's file, and of the block by itself.
fn try_out(files: &SshFiles, config: &Path, line: &str) -> Result<()> {
    let trial = files.block(TRIAL);
    let directory = trial.parent().context("a block lies in a directory")?;
    private_directory(directory)?;
    let host = format!("{TRIAL}.sandbox");
    // As every sandbox's is, of what nobody has.
    let keys = KeyPair::generate()?;
    let access = Access {
        id: TRIAL.parse()?,
        uid: Uid::new("trial"),
        user: "trial".to_owned(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("trial".to_owned()),
    };
    let program = Path::new("sandbox");
    let block = Block { host: &host, access: &access, directory, program, environment: &[] };
    let text = block.text("a trial")?;
    private_file(&trial, &text)?;
    let asked = asked(&trial, &host).and_then(|alone| Ok((alone, asked(config, &host)?)));
    fs::remove_dir_all(directory).with_context(|| format!("cannot remove {}", directory.display()))?;
    let (alone, included) = asked?;
    let differs = |key: &str| value(&alone, key) != value(&included, key);
    let Some(key) = DECISIVE.into_iter().find(|key| differs(key)) else { return Ok(()) };
    let said = value(&included, key).unwrap_or("nothing");
    bail!(
        "{config} says something for all hosts before it includes the sandboxes, and the first that is said \
         counts: {key} would be {said:?}; move the line\n{line}\nto the top of the file, and try again",
        config = config.display()
    )
}

/// What ssh makes of a host.
fn asked(config: &Path, host: &str) -> Result<String> {
    let output = Command::new("ssh").arg("-G").arg("-F").arg(config).arg(host).output();
    let output = output.context("cannot ask ssh what it makes of it; is OpenSSH's client installed?")?;
    if !output.status.success() {
        bail!("ssh cannot read {}: {}", config.display(), String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn value<'a>(answer: &'a str, key: &str) -> Option<&'a str> {
    answer.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))
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
    let mode = fs::metadata(&real).ok().map(|metadata| metadata.permissions());
    private_file(&real, content)?;
    match mode {
        Some(mode) => fs::set_permissions(&real, mode)
            .with_context(|| format!("cannot set the permissions of {}", real.display())),
        None => Ok(()),
    }
}
