//! The environment of a command.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::config::ServerConfig;

/// The file below the home directory with the environment of the sandbox: one `NAME=value` per
/// line, as in OpenSSH's `~/.ssh/environment`.
const FILE: &str = ".sandbox/environment";
/// Bytes of that file that are read. By default Linux accepts no larger environment.
const MAX_BYTES: u64 = 2 << 20;

/// The search path for programs if the environment has no `PATH`.
pub(crate) const DEFAULT_PATH: &str =
    "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Builds the environment of a command: the server's own base, then the variables that were set for
/// the sandbox, then `requested` by the client. Later variables override earlier ones.
pub(crate) fn command_environment(
    config: &ServerConfig,
    requested: &[(String, String)],
) -> Vec<(OsString, OsString)> {
    let mut env: Vec<(OsString, OsString)> =
        Vec::with_capacity(config.env.len() + requested.len() + 4);
    let user = config.user.as_deref().unwrap_or("sandbox");
    env.push(("PATH".into(), DEFAULT_PATH.into()));
    env.push(("USER".into(), user.into()));
    env.push(("LOGNAME".into(), user.into()));
    let base = config.env.iter().cloned();
    let home = std::iter::once(("HOME".into(), config.home.clone().into()));
    let requested = requested
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let stored = read_stored(&config.home);
    for (name, value) in base.chain(home).chain(stored).chain(requested) {
        set_variable(&mut env, name, value);
    }
    env
}

/// Sets a variable, and replaces its value if there is one.
pub(crate) fn set_variable(env: &mut Vec<(OsString, OsString)>, name: OsString, value: OsString) {
    match env.iter_mut().find(|(existing, _)| *existing == name) {
        Some((_, existing)) => *existing = value,
        None => env.push((name, value)),
    }
}

/// Reads the environment of the sandbox. A missing file counts as empty. Lines that are no
/// variables are skipped, because a process that can write the file can run commands anyway.
fn read_stored(home: &Path) -> Vec<(OsString, OsString)> {
    let mut text = Vec::new();
    // The workload can replace the file, so links are not followed and a FIFO is not waited for.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = rustix::fs::open(home.join(FILE), flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).take(MAX_BYTES).read_to_end(&mut text));
    match read {
        Ok(_) => text
            .split(|byte| *byte == b'\n')
            .filter_map(parse_variable)
            .collect(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, "{FILE} not read");
            }
            Vec::new()
        }
    }
}

fn parse_variable(line: &[u8]) -> Option<(OsString, OsString)> {
    let equals = line
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|at| *at > 0)?;
    let name = &line[..equals];
    let value = &line[equals + 1..];
    (!line.contains(&0)).then(|| {
        (
            OsStr::from_bytes(name).to_owned(),
            OsStr::from_bytes(value).to_owned(),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lines_with_variables_are_read() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(read_stored(home.path()), []);
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::fs::write(
            home.path().join(FILE),
            "A=b c\n=x\nnothing\nEMPTY=\nE=a=b\nN=\0\n",
        )
        .unwrap();
        let expected = [("A", "b c"), ("EMPTY", ""), ("E", "a=b")];
        assert_eq!(
            read_stored(home.path()),
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", home.path().join(FILE)).unwrap();
        assert_eq!(read_stored(home.path()), []);
    }
}
