//! Lists directories.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::vec::IntoIter;

use rustix::fs::{CWD, Dir, Mode, OFlags, openat};
use rustix::io::Errno;
use sandbox_core::guest::{EntryKind, FileEntry, Refusal, RefusalCode};

use crate::guest::entry::Describer;
use crate::guest::refusals::refuse_file;

/// The most entries of one list: as many as the SDK's client accepts.
const MAX_ENTRIES: usize = 1_000_000;
/// The most levels, each of which has a directory open.
const MAX_LEVELS: usize = 256;

/// A walk through a directory and those below it: each entry before what is in it, in the order of the
/// names. Its methods block.
pub(super) struct Walk {
    describer: Describer,
    depth: usize,
    levels: Vec<Level>,
    entries: usize,
}

struct Level {
    directory: OwnedFd,
    path: PathBuf,
    /// Those that were not visited yet.
    names: IntoIter<CString>,
}

impl Walk {
    /// Begins at this directory, and goes down `depth` levels. The path may be a link to it.
    pub(super) fn new(path: PathBuf, depth: u32, describer: Describer) -> Result<Self, Refusal> {
        let mut walk = Self {
            describer,
            depth: usize::try_from(depth.max(1)).unwrap_or(usize::MAX),
            levels: Vec::new(),
            entries: 0,
        };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let directory =
            openat(CWD, &path, flags, Mode::empty()).map_err(|error| refuse_list(&path, error))?;
        walk.enter(directory, path)?;
        Ok(walk)
    }

    /// Returns the next entries, at most `count`, and fewer only at the end.
    pub(super) fn next_entries(&mut self, count: usize) -> Result<Vec<FileEntry>, Refusal> {
        let mut entries = Vec::new();
        while entries.len() < count {
            let Some(level) = self.levels.last_mut() else {
                break;
            };
            let Some(name) = level.names.next() else {
                self.levels.pop();
                continue;
            };
            let path = level.path.join(OsStr::from_bytes(name.to_bytes()));
            let directory = level.directory.as_fd();
            let entry = match self.describer.describe_in(directory, &path) {
                Ok(entry) => entry,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(refuse_list(&path, error)),
            };
            if entry.kind == EntryKind::Directory && self.levels.len() < self.depth {
                self.descend(&name, path)?;
            }
            entries.push(entry);
        }
        Ok(entries)
    }

    fn descend(&mut self, name: &CString, path: PathBuf) -> Result<(), Refusal> {
        let Some(level) = self.levels.last() else {
            return Ok(());
        };
        if self.levels.len() >= MAX_LEVELS {
            return Err(limit_refusal(
                &path,
                &format!("it is more than {MAX_LEVELS} levels deep"),
            ));
        }
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match openat(&level.directory, &**name, flags, Mode::empty()) {
            Ok(directory) => self.enter(directory, path),
            // It was removed meanwhile, or replaced.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(()),
            Err(error) => Err(refuse_list(&path, error)),
        }
    }

    fn enter(&mut self, directory: OwnedFd, path: PathBuf) -> Result<(), Refusal> {
        let left = MAX_ENTRIES - self.entries;
        let mut names = read_names(&directory, left.saturating_add(1))
            .map_err(|error| refuse_list(&path, error))?;
        if names.len() > left {
            return Err(limit_refusal(
                &path,
                &format!("there are more than {MAX_ENTRIES} entries"),
            ));
        }
        self.entries += names.len();
        names.sort_unstable();
        self.levels.push(Level {
            directory,
            path,
            names: names.into_iter(),
        });
        Ok(())
    }
}

/// Returns the names in a directory, at most `most`.
fn read_names(directory: &OwnedFd, most: usize) -> Result<Vec<CString>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = match entry {
            Ok(entry) => entry,
            // It was removed while it was open.
            Err(Errno::NOENT) => break,
            Err(error) => return Err(error),
        };
        if [c".", c".."].contains(&entry.file_name()) {
            continue;
        }
        if names.len() == most {
            break;
        }
        names.push(entry.file_name().to_owned());
    }
    Ok(names)
}

fn refuse_list(path: &Path, error: impl Into<io::Error>) -> Refusal {
    refuse_file("list", path, error)
}

fn limit_refusal(path: &Path, why: &str) -> Refusal {
    let path = sandbox_core::FilePath::from(path);
    let message = format!("cannot list {path:?}: {why}; list with a smaller depth");
    Refusal::new(RefusalCode::LimitReached, message)
}
