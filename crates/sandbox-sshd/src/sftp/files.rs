//! File operations, and the open handles of a session.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, ReadDir};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio_util::sync::CancellationToken;

use super::attributes::{self, MODE};
use super::status::SftpError;

/// Bytes of one read or write, as in OpenSSH: a packet of 256 KiB less its header.
pub(super) const MAX_DATA: u32 = 261_120;
/// Open handles of one session.
pub(super) const MAX_HANDLES: usize = 512;
/// Entries of a directory in one reply.
const ENTRIES: usize = 100;

/// The files of one session. Handles are short ASCII strings, which no client changes.
pub(super) struct Files {
    home: PathBuf,
    handles: HashMap<String, Open>,
    next: u32,
    /// A buffer that all reads share, so that a read with a large length of a small file allocates
    /// only the file's size.
    scratch: Vec<u8>,
    closed: CancellationToken,
}

enum Open {
    File(File),
    Directory(Listing),
}

struct Listing {
    path: PathBuf,
    /// `.` and `..` have been listed.
    dots_listed: bool,
    entries: ReadDir,
}

/// A name in a directory, with its metadata unless the file was deleted meanwhile.
pub(super) type Entry = (Vec<u8>, Option<Metadata>);

impl Files {
    /// Creates the files of a session, until the token `closed` is cancelled.
    pub(super) fn new(home: PathBuf, closed: CancellationToken) -> Self {
        Self {
            home,
            handles: HashMap::new(),
            next: 0,
            scratch: Vec::new(),
            closed,
        }
    }

    /// Returns the token that is cancelled when the channel is closed.
    pub(super) fn closed_token(&self) -> &CancellationToken {
        &self.closed
    }

    /// Returns the path of a name in bytes. A relative one starts at the home directory.
    pub(super) fn path(&self, name: &[u8]) -> Result<PathBuf, SftpError> {
        if name.contains(&0) {
            return Err(SftpError::new(
                StatusCode::Failure,
                "the name contains a NUL byte, which no file can have",
            ));
        }
        Ok(if name.is_empty() {
            self.home.clone()
        } else {
            self.home.join(OsStr::from_bytes(name))
        })
    }

    pub(super) fn open(
        &mut self,
        path: &Path,
        flags: OpenFlags,
        attributes: &FileAttributes,
    ) -> Result<String, SftpError> {
        let mode = Mode::from_bits_truncate(attributes.permissions.unwrap_or(0o666) & MODE);
        let file = open_file(path, to_posix(flags)?, mode)?;
        self.insert(Open::File(file))
    }

    /// Opens a file for one request, without a handle.
    pub(super) fn open_for_reading(&self, path: &Path) -> Result<File, SftpError> {
        open_file(path, OFlag::O_RDONLY, Mode::empty())
    }

    pub(super) fn open_directory(&mut self, path: PathBuf) -> Result<String, SftpError> {
        let entries = std::fs::read_dir(&path)?;
        self.insert(Open::Directory(Listing {
            path,
            dots_listed: false,
            entries,
        }))
    }

    pub(super) fn close(&mut self, handle: &str) -> Result<(), SftpError> {
        self.handles
            .remove(handle)
            .map(drop)
            .ok_or_else(unknown_handle)
    }

    /// Reads at least one byte, and fewer than `length` only at the end of the file.
    pub(super) fn read(
        &mut self,
        handle: &str,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, SftpError> {
        let Some(Open::File(file)) = self.handles.get(handle) else {
            return Err(unknown_handle());
        };
        let length = length.min(MAX_DATA) as usize;
        if self.scratch.len() < length {
            self.scratch.resize(length, 0);
        }
        let read = file.read_at(&mut self.scratch[..length], offset)?;
        if read == 0 && length > 0 {
            return Err(SftpError::end_of_file());
        }
        Ok(self.scratch[..read].to_vec())
    }

    pub(super) fn write(&self, handle: &str, offset: u64, data: &[u8]) -> Result<(), SftpError> {
        Ok(self.file(handle)?.write_all_at(data, offset)?)
    }

    pub(super) fn file(&self, handle: &str) -> Result<&File, SftpError> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(unknown_handle()),
        }
    }

    /// Returns the next entries of a directory, at least one.
    pub(super) fn list(&mut self, handle: &str) -> Result<Vec<Entry>, SftpError> {
        let Some(Open::Directory(listing)) = self.handles.get_mut(handle) else {
            return Err(unknown_handle());
        };
        let mut entries = Vec::new();
        if !std::mem::replace(&mut listing.dots_listed, true) {
            for dot in [".", ".."] {
                entries.push((
                    dot.as_bytes().to_vec(),
                    listing.path.join(dot).symlink_metadata().ok(),
                ));
            }
        }
        for entry in listing.entries.by_ref().take(ENTRIES) {
            let entry = entry?;
            entries.push((entry.file_name().into_vec(), entry.metadata().ok()));
        }
        if entries.is_empty() {
            Err(SftpError::end_of_file())
        } else {
            Ok(entries)
        }
    }

    /// Returns the absolute path without links. Its last part need not exist.
    pub(super) fn real_path(path: &Path) -> Result<Vec<u8>, SftpError> {
        let real = match (path.canonicalize(), path.parent(), path.file_name()) {
            (Ok(real), ..) => real,
            (Err(error), Some(parent), Some(name))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                parent.canonicalize()?.join(name)
            }
            (Err(error), ..) => return Err(error.into()),
        };
        Ok(real.into_os_string().into_vec())
    }

    pub(super) fn read_link(path: &Path) -> Result<Vec<u8>, SftpError> {
        Ok(path.read_link()?.into_os_string().into_vec())
    }

    /// Renames a file, but never over an existing one.
    pub(super) fn rename(from: &Path, to: &Path) -> Result<(), SftpError> {
        if to.symlink_metadata().is_ok() {
            return Err(nix::errno::Errno::EEXIST.into());
        }
        Ok(std::fs::rename(from, to)?)
    }

    pub(super) fn make_directory(
        path: &Path,
        attributes: &FileAttributes,
    ) -> Result<(), SftpError> {
        let mode = attributes.permissions.unwrap_or(0o777) & MODE;
        Ok(nix::unistd::mkdir(path, Mode::from_bits_truncate(mode))?)
    }

    pub(super) fn set_attributes(
        &self,
        handle: &str,
        new: &FileAttributes,
    ) -> Result<(), SftpError> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => attributes::set_on_file(file, new),
            Some(Open::Directory(listing)) => attributes::set_on_path(&listing.path, new, false),
            None => Err(unknown_handle()),
        }
    }

    pub(super) fn metadata(&self, handle: &str) -> Result<Metadata, SftpError> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file.metadata()?),
            Some(Open::Directory(listing)) => Ok(listing.path.metadata()?),
            None => Err(unknown_handle()),
        }
    }

    fn insert(&mut self, open: Open) -> Result<String, SftpError> {
        if self.handles.len() >= MAX_HANDLES {
            return Err(SftpError::new(
                StatusCode::Failure,
                "too many open handles: close some first",
            ));
        }
        let handle = format!("{:x}", self.next);
        self.next = self.next.wrapping_add(1);
        self.handles.insert(handle.clone(), open);
        Ok(handle)
    }
}

fn open_file(path: &Path, flags: OFlag, mode: Mode) -> Result<File, SftpError> {
    // Without O_NONBLOCK, opening a FIFO would block.
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(open(path, flags, mode)?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(nix::errno::Errno::EISDIR.into());
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(SftpError::new(
            StatusCode::Failure,
            "a FIFO cannot be opened over SFTP",
        ));
    }
    Ok(file)
}

fn to_posix(flags: OpenFlags) -> Result<OFlag, SftpError> {
    let mut posix = match (
        flags.contains(OpenFlags::READ),
        flags.contains(OpenFlags::WRITE),
    ) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        (true, false) => OFlag::O_RDONLY,
        (false, false) => {
            return Err(SftpError::new(
                StatusCode::BadMessage,
                "the flags request neither reading nor writing",
            ));
        }
    };
    for (flag, wanted) in [
        (OFlag::O_APPEND, OpenFlags::APPEND),
        (OFlag::O_CREAT, OpenFlags::CREATE),
        (OFlag::O_TRUNC, OpenFlags::TRUNCATE),
        (OFlag::O_EXCL, OpenFlags::EXCLUDE),
    ] {
        posix.set(flag, flags.contains(wanted));
    }
    Ok(posix)
}

fn unknown_handle() -> SftpError {
    SftpError::new(StatusCode::Failure, "there is no such handle")
}
