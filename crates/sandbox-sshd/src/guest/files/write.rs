//! Writes a file in place.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::PathBuf;

use bytes::Bytes;
use rustix::fs::{Gid, Mode, OFlags, Uid, fchown};
use rustix::io::Errno;
use sandbox_core::guest::{FileEntry, Refusal};

use super::actor::Owner;
use super::change::create_parents;
use super::read::special_refusal;
use crate::guest::entry::{Describer, change_attributes};
use crate::guest::refusals::refuse_file;

/// What to write.
pub(super) struct WriteTarget {
    pub(super) path: PathBuf,
    pub(super) attributes: BTreeMap<String, String>,
    pub(super) replaced_prefix: String,
    /// Who owns it and its parents if they are created.
    pub(super) owner: Option<Owner>,
}

/// An open file that is being written. Its methods block.
pub(super) struct FileWriter {
    file: File,
    path: PathBuf,
    bytes: u64,
}

impl FileWriter {
    /// Opens a file, or creates it with its parents, and empties it. `on_created_parents` is called after parents
    /// were created, and before the file is.
    ///
    /// inotify(7) reports of a new file that it was created and that its attributes have changed, and then that it
    /// was written: that is what watches are compatible with.
    pub(super) fn open(
        target: &WriteTarget,
        on_created_parents: impl FnOnce(),
    ) -> Result<Self, Refusal> {
        let path = &target.path;
        let refuse = |error: io::Error| refuse_file("write", path, error);
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let open = |flags| rustix::fs::open(path, flags, Mode::from_raw_mode(0o644));
        // Whether it is new is known only if O_EXCL created it.
        let created = match open(flags | OFlags::CREATE | OFlags::EXCL) {
            Err(Errno::NOENT) => {
                let has_created = create_parents(path, target.owner)
                    .map_err(|error| refuse_file("create the parents of", path, error))?;
                if has_created {
                    on_created_parents();
                }
                open(flags | OFlags::CREATE | OFlags::EXCL)
            }
            created => created,
        };
        let (file, is_new) = match created {
            Ok(file) => (file, true),
            // It exists, or it is a link, which is followed.
            Err(Errno::EXIST) => match open(flags | OFlags::CREATE) {
                Ok(file) => (file, false),
                Err(Errno::NXIO) => return Err(special_refusal("write", path)),
                Err(error) => return Err(refuse(error.into())),
            },
            Err(error) => return Err(refuse(error.into())),
        };
        let writer = Self {
            file: File::from(file),
            path: path.clone(),
            bytes: 0,
        };
        writer.prepare(target, is_new).map_err(refuse)?;
        Ok(writer)
    }

    /// Writes the parts one after the other.
    pub(super) fn write(&mut self, parts: &[Bytes]) -> Result<(), Refusal> {
        for part in parts {
            self.file
                .write_all(part)
                .map_err(|error| refuse_file("write", &self.path, error))?;
            self.bytes += part.len() as u64;
        }
        Ok(())
    }

    /// Closes the file, and describes it. Returns the number of bytes, too.
    pub(super) fn finish(self, describer: &mut Describer) -> Result<(FileEntry, u64), Refusal> {
        let refuse = |error: io::Error| refuse_file("write", &self.path, error);
        let entry = describer
            .describe_open(&self.file, &self.path)
            .map_err(refuse)?;
        // A network file system reports only now that a quota is used up.
        nix::unistd::close(self.file).map_err(|error| refuse(error.into()))?;
        Ok((entry, self.bytes))
    }

    fn prepare(&self, target: &WriteTarget, is_new: bool) -> io::Result<()> {
        let found = self.file.metadata()?;
        if found.file_type().is_fifo() {
            return Err(Errno::INVAL.into());
        }
        if is_new {
            // Even if it changes nothing, it is reported as a change of attributes.
            let (uid, gid) = match target.owner {
                Some(owner) => (owner.uid, owner.gid),
                None => (Uid::from_raw(found.uid()), Gid::from_raw(found.gid())),
            };
            match fchown(&self.file, Some(uid), Some(gid)) {
                Ok(()) => {}
                // A file system without owners.
                Err(Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS) if target.owner.is_none() => {}
                Err(error) => return Err(error.into()),
            }
        }
        // What cannot be set is refused before the former content is gone.
        change_attributes(&self.file, &target.attributes, &target.replaced_prefix)?;
        if found.is_file() && found.len() > 0 {
            self.file.set_len(0)?;
        }
        Ok(())
    }
}
