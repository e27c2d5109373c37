//! Writes a file of a tree under a temporary name, and renames it once it is complete.

use std::fs::{File, Metadata, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::AT_FDCWD;
use nix::sys::stat::{UtimensatFlags, futimens, utimensat};
use nix::sys::time::TimeSpec;
use nix::unistd::{Gid, Uid, fchown};
use sandbox_core::tree_stream::Attributes;
use sandbox_core::{Direction, TransferReason, temporary_name};

use super::problem::Problem;
use super::to_path;

const UPLOAD: Direction = Direction::Upload;
/// The permission bits of files. Set-user-id, set-group-id and sticky are never set.
const MODE: u32 = 0o777;
/// The mode of a new file if the client has none.
const DEFAULT_MODE: u32 = 0o644;

/// An incomplete file, which is removed when it is dropped before `finish`.
pub(super) struct Temporary {
    path: PathBuf,
    file: File,
    target: PathBuf,
    /// The file that is replaced.
    replaced: Option<Metadata>,
    attributes: Attributes,
    is_renamed: bool,
}

impl Temporary {
    /// Creates a file beside the one of this name, which only this user can read until it is finished.
    /// Nothing can have the name in a new directory, or it is replaced without a look at it.
    ///
    /// # Errors
    ///
    /// Also if there is a device, a FIFO or a socket, which a tree does not replace.
    pub(super) fn create(
        directory: &Path,
        name: &[u8],
        is_new: bool,
        attributes: Attributes,
    ) -> Result<Self, Problem> {
        let target = directory.join(to_path(name));
        let replaced = if is_new {
            None
        } else {
            target.symlink_metadata().ok()
        };
        if let Some(replaced) = &replaced {
            let kind = replaced.file_type();
            if kind.is_fifo() || kind.is_socket() || kind.is_char_device() || kind.is_block_device()
            {
                return Err(Problem::with_reason(
                    UPLOAD,
                    TransferReason::AlreadyExists,
                    "a device, a FIFO or a socket is there, which is not replaced",
                ));
            }
        }
        let failed = |error| Problem::new(UPLOAD, &error);
        let name = temporary_name(name).map_err(|error| failed(io::Error::other(error)))?;
        let path = directory.join(to_path(name.as_bytes()));
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(failed)?;
        Ok(Self {
            path,
            file,
            target,
            replaced: replaced.filter(Metadata::is_file),
            attributes,
            is_renamed: false,
        })
    }

    pub(super) fn write(&mut self, content: &[u8]) -> Result<(), Problem> {
        self.file
            .write_all(content)
            .map_err(|error| Problem::new(UPLOAD, &error))
    }

    /// Sets the attributes of the file, and renames it.
    pub(super) fn finish(mut self) -> Result<(), Problem> {
        self.try_finish()
            .map_err(|error| Problem::new(UPLOAD, &error))
    }

    fn try_finish(&mut self) -> io::Result<()> {
        let mut mode = self.attributes.mode;
        if let Some(replaced) = &self.replaced {
            keep_owner(&self.file, replaced);
            mode = mode.or(Some(replaced.mode()));
        }
        let mode = mode.unwrap_or(DEFAULT_MODE) & MODE;
        self.file.set_permissions(Permissions::from_mode(mode))?;
        if let Some(time) = self.attributes.modified.and_then(to_timespec) {
            futimens(&self.file, &time, &time)?;
        }
        std::fs::rename(&self.path, &self.target)?;
        self.is_renamed = true;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.is_renamed
            && let Err(error) = std::fs::remove_file(&self.path)
        {
            tracing::debug!(path = ?self.path, %error, "temporary file not removed");
        }
    }
}

/// Gives a new file the owner and group of the one that it replaces, as far as this user may.
fn keep_owner(new: &File, replaced: &Metadata) {
    let (uid, gid) = (replaced.uid(), replaced.gid());
    let is_same = new
        .metadata()
        .is_ok_and(|new| (new.uid(), new.gid()) == (uid, gid));
    if is_same {
        return;
    }
    let group = Some(Gid::from_raw(gid));
    if fchown(new, Some(Uid::from_raw(uid)), group).is_err()
        // Only root may give files away, but a user may be in several groups.
        && let Err(error) = fchown(new, None, group)
    {
        tracing::debug!(%error, "the replaced file's owner and group are not kept");
    }
}

/// Sets the permission bits and the modification time of a directory.
pub(super) fn finish_directory(path: &Path, attributes: Attributes) -> io::Result<()> {
    if let Some(mode) = attributes.mode {
        std::fs::set_permissions(path, Permissions::from_mode(mode))?;
    }
    if let Some(time) = attributes.modified.and_then(to_timespec) {
        utimensat(AT_FDCWD, path, &time, &time, UtimensatFlags::FollowSymlink)?;
    }
    Ok(())
}

/// `None` for a time that the system cannot represent.
fn to_timespec(time: std::time::SystemTime) -> Option<TimeSpec> {
    let epoch = std::time::SystemTime::UNIX_EPOCH;
    match time.duration_since(epoch) {
        Ok(since) => Some(TimeSpec::new(
            since.as_secs().try_into().ok()?,
            since.subsec_nanos().into(),
        )),
        Err(before) => {
            let before = before.duration();
            let seconds: i64 = before.as_secs().try_into().ok()?;
            Some(match i64::from(before.subsec_nanos()) {
                0 => TimeSpec::new(-seconds, 0),
                nanoseconds => TimeSpec::new(-seconds - 1, 1_000_000_000 - nanoseconds),
            })
        }
    }
}
