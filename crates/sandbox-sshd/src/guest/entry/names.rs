//! The names of users and groups in the sandbox.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use rustix::fs::{Mode, OFlags};

use crate::lock::lock;

/// How much of a file is read.
const MAX_FILE: u64 = 4 << 20;
/// The most bytes of a name; a longer one counts as none.
const MAX_NAME: usize = 256;

/// The names in `/etc/passwd` and `/etc/group`, which are read again after they were changed.
#[derive(Debug)]
pub(crate) struct NameFiles {
    users: NameFile,
    groups: NameFile,
}

/// The names at one moment.
#[derive(Debug, Clone, Default)]
pub(crate) struct Names {
    users: Arc<NameTable>,
    groups: Arc<NameTable>,
}

impl NameFiles {
    pub(crate) fn new() -> Self {
        Self {
            users: NameFile::new("/etc/passwd"),
            groups: NameFile::new("/etc/group"),
        }
    }

    /// Returns the present names. It may block.
    pub(crate) fn read(&self) -> Names {
        Names {
            users: self.users.read(),
            groups: self.groups.read(),
        }
    }
}

impl Names {
    /// Returns the name of a user, or the number as text.
    pub(super) fn user(&self, id: u32) -> String {
        self.users
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }

    /// Returns the name of a group, or the number as text.
    pub(super) fn group(&self, id: u32) -> String {
        self.groups
            .get(&id)
            .cloned()
            .unwrap_or_else(|| id.to_string())
    }
}

/// Names by their numbers.
type NameTable = HashMap<u32, String>;

#[derive(Debug)]
struct NameFile {
    path: PathBuf,
    cached: Mutex<Cached>,
}

#[derive(Debug, Default)]
struct Cached {
    stamp: Option<Stamp>,
    names: Arc<NameTable>,
}

/// What differs after a file was changed or replaced: device, inode, size and time of change.
type Stamp = (u64, u64, u64, i64, i64);

impl NameFile {
    fn new(path: impl Into<PathBuf>) -> Self {
        Self {
            path: path.into(),
            cached: Mutex::default(),
        }
    }

    fn read(&self) -> Arc<NameTable> {
        let stamp = std::fs::metadata(&self.path).ok().map(|found| {
            (
                found.dev(),
                found.ino(),
                found.size(),
                found.ctime(),
                found.ctime_nsec(),
            )
        });
        let mut cached = lock(&self.cached);
        if stamp.is_none() || cached.stamp != stamp {
            let content = stamp.and_then(|_| self.read_content()).unwrap_or_default();
            *cached = Cached {
                stamp,
                names: Arc::new(parse(&content)),
            };
        }
        Arc::clone(&cached.names)
    }

    fn read_content(&self) -> Option<Vec<u8>> {
        // The workload may have put a FIFO here, which is not waited for.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(&self.path, flags, Mode::empty()).ok()?);
        let mut content = Vec::new();
        let is_file = file.metadata().ok()?.is_file();
        (is_file && file.take(MAX_FILE).read_to_end(&mut content).is_ok()).then_some(content)
    }
}

/// Returns the names by their numbers. The first line of a number counts (passwd(5), group(5)).
fn parse(content: &[u8]) -> NameTable {
    let mut names = HashMap::new();
    for line in content.split(|byte| *byte == b'\n') {
        let mut fields = line.split(|byte| *byte == b':');
        let (Some(name), Some(_password), Some(id)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let id = std::str::from_utf8(id).ok().and_then(|id| id.parse().ok());
        let name = std::str::from_utf8(name).ok();
        if let (Some(id), Some(name)) = (id, name)
            && !name.is_empty()
            && name.len() <= MAX_NAME
        {
            names.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_anew_after_a_change() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        let file = NameFile::new(&path);
        assert!(file.read().is_empty());
        std::fs::write(
            &path,
            "root:x:0:0::/:/bin/sh\nbroken\na:x:7\n:x:8\nb:x:7:\n",
        )
        .unwrap();
        let names = file.read();
        assert_eq!((names.len(), &*names[&7]), (2, "a"));
        assert!(Arc::ptr_eq(&names, &file.read()), "it is cached");
        std::fs::write(&path, "c:x:7\n").unwrap();
        assert_eq!(file.read()[&7], "c");
        std::fs::remove_file(&path).unwrap();
        assert!(file.read().is_empty());
    }

    #[test]
    fn what_is_no_name_is_left_out() {
        let long = "x".repeat(MAX_NAME + 1);
        let content = format!("{long}:x:1\nok:x:-1\nok:x:4294967296\n\n");
        assert!(parse(content.as_bytes()).is_empty());
        assert!(parse(b"\xff:x:1\n").is_empty());
    }

    #[test]
    fn a_fifo_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("passwd");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(NameFile::new(&path).read().is_empty());
    }
}
