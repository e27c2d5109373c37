//! Removes files and trees.
//!
//! Every name is resolved in a directory that is open, so a directory that is replaced by a link meanwhile is
//! not followed.

use std::ffi::CString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path};

use rustix::fs::{AtFlags, CWD, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;
use sandbox_core::guest::{Refusal, RefusalCode};
use tokio_util::sync::CancellationToken;

use crate::guest::refusals::refuse_file;

/// The most levels, each of which has a directory open.
const MAX_LEVELS: usize = 256;
/// How often a directory is read anew because something was created in it meanwhile.
const MAX_PASSES: u32 = 16;

/// Removes a file, or a directory with everything in it, until this token is cancelled. A path that does not exist is no error.
pub(super) fn remove(
    path: &Path,
    home: &Path,
    cancelled: &CancellationToken,
) -> Result<(), Refusal> {
    let last = path.components().next_back();
    let (Some(Component::Normal(name)), Some(parent)) = (last, path.parent()) else {
        return Err(protected(path));
    };
    if path == home {
        return Err(protected(path));
    }
    let refuse = |error: Errno| refuse_file("remove", path, io::Error::from(error));
    let name = CString::new(name.as_bytes()).map_err(|_| refuse(Errno::INVAL))?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = match openat(CWD, parent, flags, Mode::empty()) {
        Ok(parent) => parent,
        Err(Errno::NOENT) => return Ok(()),
        Err(error) => return Err(refuse(error)),
    };
    match remove_in(&parent, name, cancelled) {
        Ok(()) => Ok(()),
        Err(Failure::System(error)) => Err(refuse(error)),
        Err(Failure::TooDeep) => Err(Refusal::new(
            RefusalCode::LimitReached,
            format!(
                "cannot remove {:?}: it is more than {MAX_LEVELS} levels deep; remove it with a command",
                sandbox_core::FilePath::from(path)
            ),
        )),
    }
}

enum Failure {
    System(Errno),
    TooDeep,
}

impl From<Errno> for Failure {
    fn from(error: Errno) -> Self {
        Self::System(error)
    }
}

/// A directory that is being emptied.
struct Level {
    name: CString,
    directory: OwnedFd,
    entries: Dir,
    passes: u32,
}

fn remove_in(
    parent: &OwnedFd,
    name: CString,
    cancelled: &CancellationToken,
) -> Result<(), Failure> {
    let mut levels: Vec<Level> = Vec::new();
    levels.extend(remove_or_open(parent, name)?);
    while let Some(mut level) = levels.pop() {
        if cancelled.is_cancelled() {
            return Ok(());
        }
        match level.entries.read() {
            Some(entry) => {
                let name = entry?.file_name().to_owned();
                if [c".", c".."].contains(&name.as_c_str()) {
                    levels.push(level);
                    continue;
                }
                let inner = remove_or_open(&level.directory, name)?;
                levels.push(level);
                if inner.is_some() && levels.len() >= MAX_LEVELS {
                    return Err(Failure::TooDeep);
                }
                levels.extend(inner);
            }
            None => {
                let above = levels.last().map_or(parent, |above| &above.directory);
                match unlinkat(above, &*level.name, AtFlags::REMOVEDIR) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(Errno::NOTEMPTY | Errno::EXIST) if level.passes < MAX_PASSES => {
                        level.passes += 1;
                        level.entries.rewind();
                        levels.push(level);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
        }
    }
    Ok(())
}

/// Removes a file or an empty directory, or opens a directory that must be emptied first.
fn remove_or_open(parent: impl AsFd, name: CString) -> Result<Option<Level>, Errno> {
    let parent = parent.as_fd();
    match unlinkat(parent, &*name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(None),
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(error) => return Err(error),
    }
    // An empty directory need not be readable.
    let is_empty = unlinkat(parent, &*name, AtFlags::REMOVEDIR);
    if matches!(is_empty, Ok(()) | Err(Errno::NOENT)) {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = match openat(parent, &*name, flags, Mode::empty()) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(None),
        // A file that may not be removed: the error is that of removing it.
        Err(Errno::NOTDIR | Errno::LOOP) => return Err(Errno::PERM),
        Err(error) => return Err(error),
    };
    let entries = Dir::read_from(&directory)?;
    Ok(Some(Level {
        name,
        directory,
        entries,
        passes: 0,
    }))
}

fn protected(path: &Path) -> Refusal {
    let path = sandbox_core::FilePath::from(path);
    let message = format!(
        "cannot remove {path:?}: the root, home and parent directories stay; name what is in them"
    );
    Refusal::new(RefusalCode::Invalid, message)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn remove_now(path: &Path) -> Result<(), Refusal> {
        remove(path, Path::new("/home/u"), &CancellationToken::new())
    }

    #[test]
    fn a_tree_is_removed_and_links_are_not_followed() {
        let directory = tempfile::tempdir().unwrap();
        let (tree, kept) = (directory.path().join("t"), directory.path().join("kept"));
        fs::create_dir_all(tree.join("a/b")).unwrap();
        fs::create_dir(&kept).unwrap();
        fs::write(kept.join("f"), "").unwrap();
        for index in 0..500 {
            fs::write(tree.join(format!("a/b/{index}")), "").unwrap();
        }
        symlink(&kept, tree.join("a/link")).unwrap();
        fs::create_dir(tree.join("locked")).unwrap();
        fs::set_permissions(tree.join("locked"), fs::Permissions::from_mode(0o000)).unwrap();
        remove_now(&tree).unwrap();
        assert!(!tree.exists() && kept.join("f").exists());
        remove_now(&tree).unwrap();
        remove_now(&tree.join("none/at/all")).unwrap();
        // A link to a directory is removed itself.
        symlink(&kept, &tree).unwrap();
        remove_now(&tree).unwrap();
        assert!(tree.symlink_metadata().is_err() && kept.join("f").exists());
    }

    #[test]
    fn what_may_not_be_removed_is_refused() {
        for path in ["/", "/home/u", "/home/..", "/home/u/.."] {
            let refusal = remove_now(Path::new(path)).unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Invalid, "{path}");
        }
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("f"), "").unwrap();
        let refusal = remove_now(&directory.path().join("f/x")).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::NotADirectory);
        let mut deep = directory.path().join("d");
        for _ in 0..300 {
            deep.push("d");
        }
        fs::create_dir_all(&deep).unwrap();
        let refusal = remove_now(&directory.path().join("d")).unwrap_err();
        assert_eq!(refusal.code, RefusalCode::LimitReached);
    }

    #[test]
    fn a_directory_that_is_written_meanwhile_is_read_anew() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("t");
        fs::create_dir(&tree).unwrap();
        let writing = tree.clone();
        let writer = std::thread::spawn(move || {
            for index in 0..2000 {
                if fs::write(writing.join(format!("{index}")), "").is_err() {
                    return;
                }
            }
        });
        // It may be refused while the other thread writes, and is not once that has ended.
        while remove_now(&tree).is_err() {}
        writer.join().unwrap();
        remove_now(&tree).unwrap();
        assert!(!tree.exists());
    }

    #[test]
    fn a_cancelled_removal_stops() {
        let directory = tempfile::tempdir().unwrap();
        let tree = directory.path().join("t");
        fs::create_dir_all(tree.join("a")).unwrap();
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        remove(&tree, Path::new("/home/u"), &cancelled).unwrap();
        assert!(tree.exists());
    }
}
