//! What people type who come from docker, and what to type here.

use std::ffi::OsStr;

use anyhow::{Result, bail};

use crate::exit::Outcome;
use crate::ui::messages;

/// What shells and our server report of a program that is not there.
const EXIT_NOT_FOUND: u8 = 127;
/// Images that are known by a word.
const KNOWN: [&str; 12] = [
    "alpine", "busybox", "centos", "debian", "fedora", "golang", "nginx", "node", "postgres",
    "python", "redis", "ubuntu",
];

/// Options of docker's that have no meaning here. They are taken, to say what has.
#[derive(clap::Args)]
pub(crate) struct Habits {
    #[arg(short, long, hide = true, value_name = "PORTS")]
    publish: Option<String>,
    #[arg(long, hide = true, alias = "mount", value_name = "VOLUME")]
    volume: Option<String>,
    #[arg(short, long, hide = true, value_name = "USER")]
    user: Option<String>,
}

impl Habits {
    /// # Errors
    ///
    /// When one of them was given, with what to do instead.
    pub(crate) fn refuse(&self) -> Result<()> {
        if self.publish.is_some() {
            bail!(
                "no port is published: `sandbox forward ID PORT` reaches one of a sandbox that `sandbox create` made"
            );
        }
        if self.volume.is_some() {
            bail!(
                "nothing of this machine is mounted: `sandbox cp` copies files into a sandbox and out of it"
            );
        }
        if self.user.is_some() {
            bail!(
                "the user is the backend's: runAsUser in --pod-options chooses another one on a cluster"
            );
        }
        Ok(())
    }
}

/// Says what may have been meant by a command that was not found.
pub(crate) fn print_hint(outcome: &Outcome, command: &OsStr, could_be_image: bool) {
    if matches!(outcome, Ok(EXIT_NOT_FOUND))
        && let Some(hint) = hint(command, could_be_image)
    {
        messages::note(&hint);
    }
}

fn hint(command: &OsStr, could_be_image: bool) -> Option<String> {
    let word = command.to_str()?;
    if is_mount(word) {
        return Some(format!(
            "{word:?} looks like a mount: -v is --verbose here, and nothing of this machine is mounted; \
             `sandbox cp` copies files"
        ));
    }
    if word.contains(char::is_whitespace) {
        return Some(format!(
            "a program and its arguments are words of their own here; for a command line, write: sh -c '{word}'"
        ));
    }
    (could_be_image && is_image(word)).then(|| {
        format!("to run in an image, write --image {word}: the command is what follows the options")
    })
}

/// HOST:/PATH
fn is_mount(word: &str) -> bool {
    word.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty() && path.starts_with('/') && !path.starts_with("//")
    })
}

fn is_image(word: &str) -> bool {
    let path = word.starts_with(['/', '.', '~']);
    KNOWN.contains(&word) || (!path && word.contains([':', '/']) && !word.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_and_mounts_are_told_from_programs() {
        let hint = |word: &str, image| hint(OsStr::new(word), image).unwrap_or_default();
        for image in [
            "alpine",
            "python:3.12-slim",
            "ghcr.io/a/b",
            "registry:5000/a",
            "library/ubuntu",
        ] {
            assert!(
                hint(image, true).contains(&format!("--image {image}:")),
                "{image}"
            );
            assert_eq!(hint(image, false), "", "{image}");
        }
        for mount in ["/data:/data", "./src:/src:ro", "cache:/var/cache"] {
            assert!(hint(mount, false).contains("sandbox cp"), "{mount}");
        }
        assert!(hint("ls -l", false).contains("sh -c 'ls -l'"));
        for program in [
            "make",
            "./run.sh",
            "/usr/bin/x",
            "../a/b",
            "http://x",
            "~/bin/x",
            "",
        ] {
            assert_eq!(hint(program, true), "", "{program}");
        }
    }
}
