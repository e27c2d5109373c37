//! File operations, and the handles that a session holds.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{File, Metadata, ReadDir};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, FileTypeExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{OFlag, open};
use nix::sys::stat::Mode;
use russh_sftp::protocol::{FileAttributes, OpenFlags, StatusCode};
use tokio_util::sync::CancellationToken;

use super::attributes::{self, MODE};
use super::status::Refused;

/// Most bytes of one read or write, as OpenSSH has it: a packet of 256 KiB less its header.
pub(super) const MOST_DATA: u32 = 261_120;
/// Most handles of a session.
pub(super) const MOST_HANDLES: usize = 512;
/// Entries of a directory in one answer.
const ENTRIES: usize = 100;

/// The files of one session. Handles are short ASCII, which every client keeps as it is.
pub(super) struct Files {
    home: PathBuf,
    handles: HashMap<String, Open>,
    next: u32,
    /// What was read last: a small file asked for with a large length costs only its size.
    scratch: Vec<u8>,
    gone: CancellationToken,
}

enum Open {
    File(File),
    Directory(Listing),
}

struct Listing {
    path: PathBuf,
    dots: bool,
    entries: ReadDir,
}

/// A name in a directory and, unless it is gone again, what it is.
pub(super) type Entry = (String, Option<Metadata>);

impl Files {
    /// For a client until that has `gone`.
    pub(super) fn new(home: PathBuf, gone: CancellationToken) -> Self {
        Self {
            home,
            handles: HashMap::new(),
            next: 0,
            scratch: Vec::new(),
            gone,
        }
    }

    /// What is cancelled when the client has gone.
    pub(super) fn gone(&self) -> &CancellationToken {
        &self.gone
    }

    /// The path that a name from russh-sftp means, if it says.
    pub(super) fn path(&self, name: &str) -> Result<PathBuf, Refused> {
        if name.contains('\u{fffd}') {
            return Err(Refused::new(
                StatusCode::Failure,
                "the name is not UTF-8 or contains U+FFFD, which this server cannot tell apart: rename it with a command",
            ));
        }
        self.raw_path(name.as_bytes())
    }

    /// The path that bytes mean; a relative one starts at the home directory.
    pub(super) fn raw_path(&self, name: &[u8]) -> Result<PathBuf, Refused> {
        if name.contains(&0) {
            return Err(Refused::new(
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
    ) -> Result<String, Refused> {
        let mode = Mode::from_bits_truncate(attributes.permissions.unwrap_or(0o666) & MODE);
        let file = open_file(path, to_posix(flags)?, mode)?;
        self.keep(Open::File(file))
    }

    /// Opens a file for the time of one request.
    pub(super) fn open_to_read(&self, path: &Path) -> Result<File, Refused> {
        open_file(path, OFlag::O_RDONLY, Mode::empty())
    }

    pub(super) fn open_directory(&mut self, path: PathBuf) -> Result<String, Refused> {
        let entries = std::fs::read_dir(&path)?;
        self.keep(Open::Directory(Listing {
            path,
            dots: false,
            entries,
        }))
    }

    pub(super) fn close(&mut self, handle: &str) -> Result<(), Refused> {
        self.handles
            .remove(handle)
            .map(drop)
            .ok_or_else(unknown_handle)
    }

    /// Fewer bytes than asked for at the end of the file; at least one.
    pub(super) fn read(
        &mut self,
        handle: &str,
        offset: u64,
        length: u32,
    ) -> Result<Vec<u8>, Refused> {
        let Some(Open::File(file)) = self.handles.get(handle) else {
            return Err(unknown_handle());
        };
        let length = length.min(MOST_DATA) as usize;
        if self.scratch.len() < length {
            self.scratch.resize(length, 0);
        }
        let read = file.read_at(&mut self.scratch[..length], offset)?;
        if read == 0 && length > 0 {
            return Err(Refused::end_of_file());
        }
        Ok(self.scratch[..read].to_vec())
    }

    pub(super) fn write(&self, handle: &str, offset: u64, data: &[u8]) -> Result<(), Refused> {
        Ok(self.file(handle)?.write_all_at(data, offset)?)
    }

    pub(super) fn file(&self, handle: &str) -> Result<&File, Refused> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file),
            _ => Err(unknown_handle()),
        }
    }

    /// The next entries of a directory, at least one.
    pub(super) fn list(&mut self, handle: &str) -> Result<Vec<Entry>, Refused> {
        let Some(Open::Directory(listing)) = self.handles.get_mut(handle) else {
            return Err(unknown_handle());
        };
        let mut found = Vec::new();
        if !std::mem::replace(&mut listing.dots, true) {
            for dot in [".", ".."] {
                found.push((
                    dot.to_owned(),
                    listing.path.join(dot).symlink_metadata().ok(),
                ));
            }
        }
        for entry in listing.entries.by_ref().take(ENTRIES) {
            let entry = entry?;
            found.push((
                entry.file_name().to_string_lossy().into_owned(),
                entry.metadata().ok(),
            ));
        }
        if found.is_empty() {
            Err(Refused::end_of_file())
        } else {
            Ok(found)
        }
    }

    /// The absolute path without links. The last part need not be there.
    pub(super) fn real_path(path: &Path) -> Result<String, Refused> {
        let real = match (path.canonicalize(), path.parent(), path.file_name()) {
            (Ok(real), ..) => real,
            (Err(error), Some(parent), Some(name))
                if error.kind() == std::io::ErrorKind::NotFound =>
            {
                parent.canonicalize()?.join(name)
            }
            (Err(error), ..) => return Err(error.into()),
        };
        to_name(real.as_os_str())
    }

    pub(super) fn read_link(path: &Path) -> Result<String, Refused> {
        to_name(path.read_link()?.as_os_str())
    }

    /// Renames, but never over something that is there.
    pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Refused> {
        if to.symlink_metadata().is_ok() {
            return Err(nix::errno::Errno::EEXIST.into());
        }
        Ok(std::fs::rename(from, to)?)
    }

    pub(super) fn make_directory(path: &Path, attributes: &FileAttributes) -> Result<(), Refused> {
        let mode = attributes.permissions.unwrap_or(0o777) & MODE;
        Ok(nix::unistd::mkdir(path, Mode::from_bits_truncate(mode))?)
    }

    pub(super) fn set_attributes(
        &self,
        handle: &str,
        wanted: &FileAttributes,
    ) -> Result<(), Refused> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => attributes::set_on_file(file, wanted),
            Some(Open::Directory(listing)) => attributes::set_on_path(&listing.path, wanted, false),
            None => Err(unknown_handle()),
        }
    }

    pub(super) fn metadata(&self, handle: &str) -> Result<Metadata, Refused> {
        match self.handles.get(handle) {
            Some(Open::File(file)) => Ok(file.metadata()?),
            Some(Open::Directory(listing)) => Ok(listing.path.metadata()?),
            None => Err(unknown_handle()),
        }
    }

    fn keep(&mut self, open: Open) -> Result<String, Refused> {
        if self.handles.len() >= MOST_HANDLES {
            return Err(Refused::new(
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

fn open_file(path: &Path, flags: OFlag, mode: Mode) -> Result<File, Refused> {
    // A FIFO must not be waited for.
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file = File::from(open(path, flags, mode)?);
    let kind = file.metadata()?.file_type();
    if kind.is_dir() {
        return Err(nix::errno::Errno::EISDIR.into());
    }
    if kind.is_fifo() || kind.is_socket() {
        return Err(Refused::new(
            StatusCode::Failure,
            "a FIFO cannot be opened over SFTP",
        ));
    }
    Ok(file)
}

fn to_posix(flags: OpenFlags) -> Result<OFlag, Refused> {
    let mut posix = match (
        flags.contains(OpenFlags::READ),
        flags.contains(OpenFlags::WRITE),
    ) {
        (true, true) => OFlag::O_RDWR,
        (false, true) => OFlag::O_WRONLY,
        (true, false) => OFlag::O_RDONLY,
        (false, false) => {
            return Err(Refused::new(
                StatusCode::BadMessage,
                "open for neither reading nor writing",
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

/// A path in an answer: it must not come out as another.
fn to_name(path: &OsStr) -> Result<String, Refused> {
    path.to_str().map(str::to_owned).ok_or_else(|| {
        Refused::new(
            StatusCode::Failure,
            format!("the path {} is not UTF-8", path.display()),
        )
    })
}

fn unknown_handle() -> Refused {
    Refused::new(StatusCode::Failure, "there is no such handle")
}
