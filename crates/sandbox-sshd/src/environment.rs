//! The environment that was set for the whole sandbox.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

/// The file, under the home directory: one `NAME=value` a line, as OpenSSH's
/// `~/.ssh/environment` has them.
pub(crate) const FILE: &str = ".sandbox/environment";
/// Linux takes no more for a whole environment either.
const LONGEST: u64 = 2 << 20;

/// What the file says now. Without one it says nothing; lines that are no variables are
/// skipped, for whoever can write the file can run commands as well.
pub(crate) fn stored(home: &Path) -> Vec<(OsString, OsString)> {
    let mut text = Vec::new();
    // Not through a link, and without waiting for a FIFO: the workload owns this place.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let read = rustix::fs::open(home.join(FILE), flags, Mode::empty())
        .map_err(std::io::Error::from)
        .and_then(|file| File::from(file).take(LONGEST).read_to_end(&mut text));
    match read {
        Ok(_) => text
            .split(|byte| *byte == b'\n')
            .filter_map(variable)
            .collect(),
        Err(error) => {
            if error.kind() != std::io::ErrorKind::NotFound {
                tracing::warn!(%error, "{FILE} cannot be read");
            }
            Vec::new()
        }
    }
}

fn variable(line: &[u8]) -> Option<(OsString, OsString)> {
    let equals = line
        .iter()
        .position(|byte| *byte == b'=')
        .filter(|at| *at > 0)?;
    let (name, value) = (&line[..equals], &line[equals + 1..]);
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
    fn variables_are_read_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        assert_eq!(stored(home.path()), []);
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::fs::write(
            home.path().join(FILE),
            "A=b c\n=x\nnothing\nEMPTY=\nE=a=b\nN=\0\n",
        )
        .unwrap();
        let expected = [("A", "b c"), ("EMPTY", ""), ("E", "a=b")];
        assert_eq!(
            stored(home.path()),
            expected.map(|(name, value)| (name.into(), value.into()))
        );
    }

    #[test]
    fn a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join(".sandbox")).unwrap();
        std::os::unix::fs::symlink("/proc/self/environ", home.path().join(FILE)).unwrap();
        assert_eq!(stored(home.path()), []);
    }
}
