//! Joins files to one.
//!
//! The content is copied under a temporary name beside the destination. Until that is renamed, every file is as it was;
//! only then are the sources removed. Other processes may change them meanwhile: what would lose content is refused.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Stat, fchown, fstat, openat, renameat};
use rustix::fs::{statat, unlinkat};
use rustix::io::Errno;
use sandbox_core::guest::{MAX_COMPOSED, Refusal, RefusalCode};
use sandbox_core::{FilePath, temporary_name};
use tokio_util::sync::CancellationToken;

use super::actor::Owner;
use super::change::create_parents;
use crate::guest::refusals::refuse_file;

/// The bytes that are copied before a look at whether the client still waits.
const AT_ONCE: u64 = 16 << 20;

/// What to join.
pub(super) struct Composition {
    pub(super) sources: Vec<PathBuf>,
    pub(super) destination: PathBuf,
    /// Who owns the destination, and its parents if they are created.
    pub(super) owner: Option<Owner>,
}

impl Composition {
    /// Joins the files, and returns the number of bytes. `on_created_parents` is called after parents of the destination
    /// were created, and before it is. If the token is cancelled, everything stays as it was.
    pub(super) fn carry_out(
        &self,
        on_created_parents: impl FnOnce(),
        cancelled: &CancellationToken,
    ) -> Result<u64, Refusal> {
        let path = &self.destination;
        check_number(self.sources.len())?;
        let name = path
            .file_name()
            .ok_or_else(|| refuse_file("write", path, Errno::ISDIR))?;
        let replaced = find_replaced(path)?;
        let mut sources = Vec::with_capacity(self.sources.len());
        for source in &self.sources {
            let source = Source::find(source)?;
            if replaced == Some(source.version.identity) {
                return Err(Refusal::new(
                    RefusalCode::Invalid,
                    format!(
                        "cannot join {:?}: it is the destination, too; name another one",
                        FilePath::from(&*source.path)
                    ),
                ));
            }
            sources.push(source);
        }
        if create_parents(path, self.owner)
            .map_err(|error| refuse_file("create the parents of", path, error))?
        {
            on_created_parents();
        }
        let bytes = self.write(name, &sources, cancelled)?;
        for source in &sources {
            source.remove();
        }
        Ok(bytes)
    }

    fn write(
        &self,
        name: &OsStr,
        sources: &[Source],
        cancelled: &CancellationToken,
    ) -> Result<u64, Refusal> {
        let path = &self.destination;
        let refuse = |error: io::Error| refuse_file("write", path, error);
        let mut incomplete = Incomplete::create(path, name).map_err(refuse)?;
        let file = &incomplete.file;
        if let Some(owner) = self.owner {
            fchown(file, Some(owner.uid), Some(owner.gid)).map_err(|error| refuse(error.into()))?;
        }
        let mut bytes = 0;
        for source in sources {
            source.copy_to(file, cancelled)?;
            bytes += source.version.size;
        }
        incomplete.finish(name).map_err(refuse)?;
        Ok(bytes)
    }
}

fn check_number(sources: usize) -> Result<(), Refusal> {
    let why = match sources {
        0 => "there are none".to_owned(),
        1..=MAX_COMPOSED => return Ok(()),
        _ => format!("there are more than {MAX_COMPOSED}"),
    };
    let message = format!("cannot join files: {why}; name 1 to {MAX_COMPOSED}");
    Err(Refusal::new(RefusalCode::Invalid, message))
}

/// Which file it is, whatever its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
}

/// What changes when the content does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Version {
    identity: Identity,
    size: u64,
    modified: (i64, i64),
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the types of the fields differ between processors"
)]
impl Version {
    fn of(stat: &Stat) -> Self {
        Self {
            identity: Identity {
                device: stat.st_dev as u64,
                inode: stat.st_ino as u64,
            },
            size: u64::try_from(stat.st_size).unwrap_or(0),
            modified: (stat.st_mtime as i64, stat.st_mtime_nsec as i64),
        }
    }
}

/// Which file the destination is now, which a rename would replace: a file or a link, or nothing.
fn find_replaced(path: &Path) -> Result<Option<Identity>, Refusal> {
    match statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile | FileType::Symlink => Ok(Some(Version::of(&stat).identity)),
            FileType::Directory => Err(refuse_file("write", path, Errno::ISDIR)),
            _ => Err(irregular("replace", path)),
        },
        // Its parents are created, if they are missing.
        Err(Errno::NOENT) => Ok(None),
        Err(error) => Err(refuse_file("write", path, error)),
    }
}

/// A file whose content becomes part of another.
struct Source {
    path: PathBuf,
    version: Version,
    /// What has the name: if that is a link, another file.
    named: Identity,
}

impl Source {
    fn find(path: &Path) -> Result<Self, Refusal> {
        let refuse = |error: Errno| refuse_file("read", path, error);
        let named = statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).map_err(refuse)?;
        let stat = fstat(&open(path)?).map_err(refuse)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Ok(Self {
                path: path.to_owned(),
                version: Version::of(&stat),
                named: Version::of(&named).identity,
            }),
            FileType::Directory => Err(refuse(Errno::ISDIR)),
            _ => Err(irregular("join", path)),
        }
    }

    /// Appends the content.
    fn copy_to(&self, mut target: &File, cancelled: &CancellationToken) -> Result<(), Refusal> {
        let refuse = |error: io::Error| refuse_file("join", &self.path, error);
        let file = open(&self.path)?;
        self.check(&file)?;
        let mut left = self.version.size;
        while left > 0 {
            if cancelled.is_cancelled() {
                let message = "the files were not joined: the client has left";
                return Err(Refusal::new(RefusalCode::Other, message));
            }
            // The kernel copies it, where it can.
            let mut part = (&file).take(left.min(AT_ONCE));
            match io::copy(&mut part, &mut target).map_err(refuse)? {
                0 => break,
                copied => left -= copied,
            }
        }
        // The size of a file of the kernel is 0, whatever its content.
        let is_at_end = left == 0 && (&file).read(&mut [0]).map_err(refuse)? == 0;
        if !is_at_end {
            return Err(self.changed());
        }
        self.check(&file)
    }

    fn check(&self, file: &File) -> Result<(), Refusal> {
        let stat = fstat(file).map_err(|error| refuse_file("read", &self.path, error))?;
        if Version::of(&stat) == self.version {
            return Ok(());
        }
        Err(self.changed())
    }

    fn changed(&self) -> Refusal {
        let message = format!(
            "cannot join {:?}: it changes, or its size is not that of its content; retry when it is complete",
            FilePath::from(&*self.path)
        );
        Refusal::new(RefusalCode::Other, message)
    }

    /// Removes the name, unless another file has it by now. The content is kept elsewhere, so one that cannot be removed
    /// stays.
    fn remove(&self) {
        if let Err(error) = self.try_remove() {
            tracing::debug!(path = ?self.path, %error, "joined file not removed");
        }
    }

    fn try_remove(&self) -> Result<(), Errno> {
        let Some(name) = self.path.file_name() else {
            return Err(Errno::ISDIR);
        };
        let parent = open_parent(&self.path)?;
        let stat = match statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It was named twice.
            Err(Errno::NOENT) => return Ok(()),
            found => found?,
        };
        if Version::of(&stat).identity == self.named {
            unlinkat(&parent, name, AtFlags::empty())?;
        }
        Ok(())
    }
}

/// A file under a temporary name, which is removed if it is dropped before `finish`.
struct Incomplete {
    parent: OwnedFd,
    name: PathBuf,
    file: File,
    is_renamed: bool,
}

impl Incomplete {
    /// Creates a file beside this one.
    fn create(path: &Path, name: &OsStr) -> io::Result<Self> {
        let parent = open_parent(path)?;
        let temporary = temporary_name(name.as_bytes()).map_err(io::Error::other)?;
        let temporary = PathBuf::from(OsStr::from_bytes(temporary.as_bytes()));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let file = openat(&parent, &temporary, flags, Mode::from_raw_mode(0o644))?;
        Ok(Self {
            parent,
            name: temporary,
            file: File::from(file),
            is_renamed: false,
        })
    }

    fn finish(&mut self, name: &OsStr) -> io::Result<()> {
        // A network file system reports only now that a quota is used up.
        nix::unistd::close(self.file.try_clone()?)?;
        renameat(&self.parent, &self.name, &self.parent, name)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Incomplete {
    fn drop(&mut self) {
        if !self.is_renamed
            && let Err(error) = unlinkat(&self.parent, &self.name, AtFlags::empty())
        {
            tracing::debug!(path = ?self.name, %error, "temporary file not removed");
        }
    }
}

fn open(path: &Path) -> Result<File, Refusal> {
    // Without O_NONBLOCK, opening a FIFO would block.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    match openat(CWD, path, flags, Mode::empty()) {
        Ok(file) => Ok(File::from(file)),
        Err(Errno::NXIO) => Err(irregular("join", path)),
        Err(error) => Err(refuse_file("read", path, error)),
    }
}

fn open_parent(path: &Path) -> Result<OwnedFd, Errno> {
    let parent = path.parent().ok_or(Errno::ISDIR)?;
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat(CWD, parent, flags, Mode::empty())
}

/// The refusal of a FIFO, a socket or a device.
fn irregular(action: &str, path: &Path) -> Refusal {
    let path = FilePath::from(path);
    let message = format!("cannot {action} {path:?}: it is no regular file; use a command for it");
    Refusal::new(RefusalCode::Invalid, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_is_cancelled_changes_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let source = directory.path().join("source");
        std::fs::write(&source, "x").unwrap();
        let composition = Composition {
            sources: vec![source.clone()],
            destination: directory.path().join("all"),
            owner: None,
        };
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        assert!(composition.carry_out(|| (), &cancelled).is_err());
        let left = std::fs::read_dir(directory.path()).unwrap().count();
        assert!(left == 1 && source.exists());
    }

    #[test]
    fn a_name_that_another_file_has_by_now_is_not_removed() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("source");
        std::fs::write(&path, "x").unwrap();
        let source = Source::find(&path).unwrap();
        let other = directory.path().join("other");
        std::fs::write(&other, "kept").unwrap();
        std::fs::rename(&other, &path).unwrap();
        source.remove();
        assert_eq!(std::fs::read(&path).unwrap(), b"kept");
    }
}
