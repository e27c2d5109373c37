//! The environment of a command.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::LazyLock;

use rustix::fs::{Mode, OFlags};
use sandbox_core::{MessageFilter, environment_file};

use crate::config::ServerConfig;

/// The search path for programs if the environment has no `PATH`.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The variables of one command.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) variables: Vec<(OsString, OsString)>,
    /// The file of the sandbox has more variables than are used.
    pub(crate) is_truncated: bool,
}

/// Builds the environment of a command: the server's own base, then the variables that were set for
/// the sandbox, then `requested` by the client. Later variables override earlier ones.
pub(crate) fn command_environment(
    config: &ServerConfig,
    requested: impl IntoIterator<Item = (OsString, OsString)>,
) -> Environment {
    let names = config.user.as_deref().or(config.user_name.as_deref());
    let user = names.unwrap_or("sandbox");
    let mut variables: BTreeMap<OsString, OsString> = BTreeMap::new();
    variables.insert("PATH".into(), DEFAULT_PATH.into());
    variables.insert("USER".into(), user.into());
    variables.insert("LOGNAME".into(), user.into());
    variables.extend(config.env.iter().cloned());
    variables.insert("HOME".into(), config.home.clone().into());
    let stored = read_stored(&config.home);
    variables.extend(stored.variables);
    variables.extend(requested);
    Environment {
        variables: variables.into_iter().collect(),
        is_truncated: stored.is_truncated,
    }
}

/// Sets a variable, and replaces its value if there is one.
pub(crate) fn set_variable(env: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    match env.iter_mut().find(|(existing, _)| *existing == name) {
        Some((_, existing)) => *existing = value,
        None => env.push((name, value)),
    }
}

/// Reads the environment of the sandbox. A missing file counts as empty. The workload can write the
/// file, so it must not prevent commands, which would fail if they were given too much of it.
fn read_stored(home: &Path) -> Environment {
    static WARNINGS: LazyLock<MessageFilter> = LazyLock::new(MessageFilter::default);
    // One more byte shows that there are more.
    let limit = environment_file::MAX_BYTES + 1;
    let mut text = Vec::new();
    // The workload can replace the file, so links are not followed and a FIFO is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = rustix::fs::open(home.join(environment_file::PATH), flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).take(limit as u64).read_to_end(&mut text));
    // A warning is logged once until the file is in order again, so that the workload cannot fill
    // the log.
    let warn = |reason: &dyn std::fmt::Display| {
        if WARNINGS.admit(&reason.to_string()) {
            tracing::warn!(%reason, "{} not read completely", environment_file::PATH);
        }
    };
    match read {
        Ok(_) => {
            let stored = parse_stored(&text);
            if stored.is_truncated {
                warn(&"it has more than a process can be given");
            } else {
                WARNINGS.reset();
            }
            stored
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            WARNINGS.reset();
            Environment::default()
        }
        Err(error) => {
            warn(&error);
            Environment::default()
        }
    }
}

/// Returns the complete variables that a process can be given.
fn parse_stored(text: &[u8]) -> Environment {
    let is_longer = text.len() > environment_file::MAX_BYTES;
    let complete = if is_longer {
        let text = &text[..environment_file::MAX_BYTES];
        // The separator is a NUL byte, or else a line feed; what follows the last one is cut off.
        let end = text
            .iter()
            .rposition(|byte| *byte == 0)
            .or_else(|| text.iter().rposition(|byte| *byte == b'\n'));
        &text[..end.map_or(0, |at| at + 1)]
    } else {
        text
    };
    let mut stored = Environment {
        variables: Vec::new(),
        is_truncated: is_longer,
    };
    for (name, value) in environment_file::parse(complete) {
        if name.len() + value.len() + 2 > environment_file::MAX_VARIABLE {
            stored.is_truncated = true;
            continue;
        }
        stored.variables.push((
            OsStr::from_bytes(name).to_owned(),
            OsStr::from_bytes(value).to_owned(),
        ));
    }
    stored
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_stored(home.path()).variables, []);
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::fs::write(
            home.path().join(environment_file::PATH),
            b"A=b\nc\0L=\xff\xfe\0B=\n",
        )
        .unwrap();
        let expected: [(&str, &[u8]); 3] = [("A", b"b\nc"), ("L", b"\xff\xfe"), ("B", b"")];
        let stored = read_stored(home.path());
        assert_eq!(
            stored.variables,
            expected.map(|(name, value)| (name.into(), OsStr::from_bytes(value).to_owned()))
        );
        assert!(!stored.is_truncated);
    }

    #[test]
    fn a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::os::unix::fs::symlink(
            "/proc/self/environ",
            home.path().join(environment_file::PATH),
        )
        .unwrap();
        assert_eq!(read_stored(home.path()).variables, []);
    }

    #[test]
    fn what_no_process_can_be_given_is_left_out() {
        let large = |length: usize| "x".repeat(length);
        let most = environment_file::MAX_BYTES;
        for (text, names) in [
            (format!("A=1\nB={}\n", large(most)), vec!["A"]),
            (format!("B={}", large(most)), vec![]),
            (
                format!("A=1\nB={}\nC=3\n", large(environment_file::MAX_VARIABLE)),
                vec!["A", "C"],
            ),
            (
                format!("A=1\n2\0B=2\0C={}\0D=4\0", large(most)),
                vec!["A", "B"],
            ),
            (format!("A=1\n{}", "B=2\n".repeat(most)), vec!["A", "B"]),
        ] {
            let stored = parse_stored(&text.as_bytes()[..text.len().min(most + 1)]);
            let mut found: Vec<_> = stored.variables.iter().map(|(name, _)| name).collect();
            found.dedup();
            assert!(stored.is_truncated);
            assert_eq!(found, names);
        }
    }
}
