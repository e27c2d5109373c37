//! The directories of a received tree: created before their content, with attributes set after it.

use std::fs::{Metadata, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::sys::stat::Mode;
use nix::unistd::mkdir;
use sandbox_core::tree_stream::Attributes;
use sandbox_core::{Direction, TransferReason};

use super::confirmations::Outcome;
use super::problem::Problem;
use super::temporary::finish_directory;
use super::to_path;

const INSIDE: Direction = Direction::Inside;
const SET_GROUP_ID: u32 = 0o2000;
/// The permissions that the owner of a directory needs to fill it.
const FILLABLE: u32 = 0o700;
/// The mode of a new directory, less the umask, until it is complete.
const NEW_MODE: u32 = 0o777;

/// The directories that the sender has entered.
pub(super) struct Directories {
    entered: Vec<Directory>,
    /// Directories that were entered in one that was refused, with that one.
    refused: u64,
}

/// A directory that is being filled.
pub(super) struct Directory {
    pub(super) path: PathBuf,
    /// Nothing was in it before.
    pub(super) is_new: bool,
    /// Its group is that of its content: inherited from its parent, and kept.
    has_set_group_id: bool,
    /// `None` for a top directory that existed: it may be the home directory.
    attributes: Option<Attributes>,
}

impl Directories {
    pub(super) fn new() -> Self {
        Self {
            entered: Vec::new(),
            refused: 0,
        }
    }

    /// The current directory; `None` in one that was refused.
    pub(super) fn current(&self) -> Option<&Directory> {
        self.entered.last().filter(|_| self.refused == 0)
    }

    /// Creates the top directory, with its parents, unless it exists.
    pub(super) fn enter_top(&mut self, path: PathBuf, attributes: Attributes) -> Outcome {
        let created = match create(&path) {
            Err(error) => create_with_parents(&path).map(|()| Directory {
                is_new: is_missing(&error),
                has_set_group_id: false,
                attributes: is_missing(&error).then_some(attributes),
                path,
            }),
            Ok(existing) => Ok(Directory {
                attributes: existing.is_none().then_some(attributes),
                ..Directory::new(path, existing.as_ref(), false, attributes)
            }),
        };
        self.add(created)
    }

    /// Creates a directory in the current one, unless it exists.
    pub(super) fn enter(&mut self, name: &[u8], attributes: Attributes) -> Outcome {
        let Some(parent) = self.current() else {
            self.refused += 1;
            return Outcome::Ignored;
        };
        let path = parent.path.join(to_path(name));
        let inherits = parent.has_set_group_id;
        let created = create(&path).map_err(|error| Problem::new(INSIDE, &error));
        let created = created.map(|existing| {
            if let Some(existing) = &existing
                && existing.mode() & FILLABLE != FILLABLE
            {
                // If this is refused, so are the files, each with its reason.
                let mode = existing.mode() & 0o7777 | FILLABLE;
                std::fs::set_permissions(&path, Permissions::from_mode(mode)).ok();
            }
            Directory::new(path, existing.as_ref(), inherits, attributes)
        });
        self.add(created)
    }

    fn add(&mut self, created: Result<Directory, Problem>) -> Outcome {
        match created {
            Ok(directory) => {
                self.entered.push(directory);
                Outcome::Written
            }
            Err(problem) => {
                // What is in it is not written: something else may have its name, such as a link.
                self.refused = 1;
                Outcome::Refused(problem)
            }
        }
    }

    /// Sets the attributes of the current directory, and returns to its parent.
    pub(super) fn leave(&mut self) -> Outcome {
        if self.refused > 0 {
            self.refused -= 1;
            return Outcome::Ignored;
        }
        match self.entered.pop().map(|directory| directory.finish()) {
            Some(Err(error)) => Outcome::Refused(Problem::new(INSIDE, &error)),
            Some(Ok(())) => Outcome::Written,
            None => Outcome::Ignored,
        }
    }

    /// Leaves all directories, although the tree is not complete.
    pub(super) fn leave_all(&mut self) {
        self.refused = 0;
        while let Some(directory) = self.entered.pop() {
            if let Err(error) = directory.finish() {
                tracing::debug!(path = ?directory.path, %error, "attributes not set");
            }
        }
    }
}

impl Directory {
    fn new(
        path: PathBuf,
        existing: Option<&Metadata>,
        inherits_group: bool,
        attributes: Attributes,
    ) -> Self {
        Self {
            path,
            is_new: existing.is_none(),
            has_set_group_id: existing
                .map_or(inherits_group, |found| found.mode() & SET_GROUP_ID != 0),
            attributes: Some(attributes),
        }
    }

    fn finish(&self) -> io::Result<()> {
        let Some(mut attributes) = self.attributes else {
            return Ok(());
        };
        if self.has_set_group_id {
            attributes.mode = attributes.mode.map(|mode| mode | SET_GROUP_ID);
        }
        finish_directory(&self.path, attributes)
    }
}

/// Creates a directory. Returns the one that exists, if there is one, also over a link.
fn create(path: &Path) -> io::Result<Option<Metadata>> {
    match mkdir(path, Mode::from_bits_truncate(NEW_MODE)).map_err(io::Error::from) {
        Ok(()) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let existing = path.metadata()?;
            if existing.is_dir() {
                Ok(Some(existing))
            } else {
                Err(error)
            }
        }
        Err(error) => Err(error),
    }
}

fn create_with_parents(path: &Path) -> Result<(), Problem> {
    let created = std::fs::create_dir_all(path);
    match path.metadata() {
        Ok(found) if found.is_dir() => Ok(()),
        Ok(_) => Err(Problem::with_reason(
            INSIDE,
            TransferReason::AlreadyExists,
            "it exists and is not a directory",
        )),
        Err(missing) => Err(Problem::new(INSIDE, &created.err().unwrap_or(missing))),
    }
}

fn is_missing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
    )
}
