//! Descriptions of files.

mod attributes;
mod names;

use std::fs::File;
use std::io;
use std::os::fd::BorrowedFd;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Stat};
use sandbox_core::FilePath;
use sandbox_core::guest::{EntryKind, FileEntry, LinkTarget};

use self::attributes::AttributeReader;
pub(super) use self::attributes::change_attributes;
pub(super) use self::names::{NameFiles, Names};

/// Describes files with the names of their owners. Its methods block.
pub(super) struct Describer {
    names: Names,
    attributes: AttributeReader,
}

impl Describer {
    pub(super) fn new(names: Names) -> Self {
        Self {
            names,
            attributes: AttributeReader::default(),
        }
    }

    /// Describes what is at a path. Its last component is not followed.
    pub(super) fn describe(&mut self, path: &Path) -> io::Result<FileEntry> {
        let stat = rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(self.describe_found(path, &stat))
    }

    /// Describes what has this name in a directory, whose path it is.
    pub(super) fn describe_in(
        &mut self,
        directory: BorrowedFd<'_>,
        path: &Path,
    ) -> io::Result<FileEntry> {
        let name = path.file_name().unwrap_or(path.as_os_str());
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(self.describe_found(path, &stat))
    }

    /// Describes an open file, which was at this path.
    pub(super) fn describe_open(&mut self, file: &File, path: &Path) -> io::Result<FileEntry> {
        let mut entry = self.entry_without_details(path, &rustix::fs::fstat(file)?);
        entry.attributes = self.attributes.read_file(file);
        Ok(entry)
    }

    fn describe_found(&mut self, path: &Path, stat: &Stat) -> FileEntry {
        let mut entry = self.entry_without_details(path, stat);
        match entry.kind {
            EntryKind::Symlink => entry.target = Some(Box::new(find_target(path))),
            EntryKind::File | EntryKind::Directory => {
                entry.attributes = self.attributes.read_path(path);
            }
            // Only files and directories have attributes below `user.`.
            _ => {}
        }
        entry
    }

    fn entry_without_details(&self, path: &Path, stat: &Stat) -> FileEntry {
        let mut entry = FileEntry::default();
        entry.name = path.file_name().unwrap_or(path.as_os_str()).into();
        entry.path = path.into();
        entry.kind = kind_of(stat);
        entry.size = u64::try_from(stat.st_size).unwrap_or(0);
        entry.mode = permissions_of(stat);
        entry.owner = self.names.user(stat.st_uid);
        entry.group = self.names.group(stat.st_gid);
        entry.modified_ns = modified_ns(stat);
        entry
    }
}

#[allow(
    clippy::unnecessary_cast,
    clippy::useless_conversion,
    reason = "the types of the fields differ between processors"
)]
fn modified_ns(stat: &Stat) -> i64 {
    let seconds = i64::try_from(stat.st_mtime).unwrap_or(i64::MAX);
    let nanoseconds = i64::try_from(stat.st_mtime_nsec).unwrap_or(0);
    seconds
        .saturating_mul(1_000_000_000)
        .saturating_add(nanoseconds)
}

fn kind_of(stat: &Stat) -> EntryKind {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => EntryKind::File,
        FileType::Directory => EntryKind::Directory,
        FileType::Symlink => EntryKind::Symlink,
        FileType::Fifo
        | FileType::Socket
        | FileType::CharacterDevice
        | FileType::BlockDevice
        | FileType::Unknown => EntryKind::Special,
    }
}

fn permissions_of(stat: &Stat) -> u32 {
    stat.st_mode & 0o7777
}

/// Where a symbolic link leads in the end; of a dangling one, what is written in it.
fn find_target(path: &Path) -> LinkTarget {
    let mut target = LinkTarget::default();
    let resolved = path.canonicalize();
    match (&resolved, resolved.as_ref().map(rustix::fs::stat)) {
        (Ok(resolved), Ok(Ok(stat))) => {
            target.path = FilePath::from(resolved);
            target.kind = kind_of(&stat);
            target.mode = permissions_of(&stat);
        }
        _ => {
            target.path = std::fs::read_link(path).map_or_else(|_| "".into(), FilePath::from);
        }
    }
    target
}
