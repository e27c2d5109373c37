//! Hints for users who type what docker would accept.

use std::ffi::OsStr;

use anyhow::{Result, bail};

use crate::exit::Outcome;
use crate::ui::messages;

/// The exit code of shells and of sandbox-sshd if the program is not found.
const EXIT_NOT_FOUND: u8 = 127;
/// Well-known images whose name is a single word.
const WELL_KNOWN_IMAGES: [&str; 12] = [
    "alpine", "busybox", "centos", "debian", "fedora", "golang", "nginx", "node", "postgres",
    "python", "redis", "ubuntu",
];

/// Options of docker that are not supported. They are parsed so that the error can suggest an
/// alternative.
#[derive(clap::Args)]
pub(crate) struct DockerOptions {
    #[arg(short, long, hide = true, value_name = "PORTS")]
    publish: Option<String>,
    #[arg(long, hide = true, alias = "mount", value_name = "VOLUME")]
    volume: Option<String>,
}

impl DockerOptions {
    /// # Errors
    ///
    /// If one of them was given. The message names the alternative.
    pub(crate) fn reject(&self) -> Result<()> {
        if self.publish.is_some() {
            bail!(
                "--publish is not supported; use `sandbox create`, then `sandbox forward ID PORT`"
            );
        }
        if self.volume.is_some() {
            bail!(
                "--volume is not supported; use `sandbox cp` to copy files into a sandbox and out of it"
            );
        }
        Ok(())
    }
}

/// Prints a hint if a command was not found and its name looks like an image, a mount or a command
/// line.
pub(crate) fn print_hint(outcome: &Outcome, command: &OsStr, could_be_image: bool) {
    if matches!(outcome, Ok(EXIT_NOT_FOUND))
        && let Some(hint) = find_hint(command, could_be_image)
    {
        messages::print_note(&hint);
    }
}

fn find_hint(command: &OsStr, could_be_image: bool) -> Option<String> {
    let word = command.to_str()?;
    if is_mount(word) {
        return Some(format!(
            "{word:?} looks like a mount, but -v is --verbose here and mounts are not supported; use \
             `sandbox cp` to copy files"
        ));
    }
    if word.contains(char::is_whitespace) {
        return Some(format!(
            "no program is named {word:?}; to run a command line, write: sh -c '{word}'"
        ));
    }
    (could_be_image && is_image(word)).then(|| {
        format!("{word:?} looks like an image; to use it, write --image {word} before the command")
    })
}

/// Whether a word has the form `HOST:/PATH`.
fn is_mount(word: &str) -> bool {
    word.split_once(':').is_some_and(|(host, path)| {
        !host.is_empty() && path.starts_with('/') && !path.starts_with("//")
    })
}

/// Whether a word looks like the name of an image and not like a program.
fn is_image(word: &str) -> bool {
    let path = word.starts_with(['/', '.', '~']);
    WELL_KNOWN_IMAGES.contains(&word)
        || (!path && word.contains([':', '/']) && !word.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_mounts_and_command_lines_get_a_hint() {
        let hint = |word: &str, image| find_hint(OsStr::new(word), image).unwrap_or_default();
        for image in [
            "alpine",
            "python:3.12-slim",
            "ghcr.io/a/b",
            "registry:5000/a",
            "library/ubuntu",
        ] {
            assert!(
                hint(image, true).contains(&format!("--image {image} ")),
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
