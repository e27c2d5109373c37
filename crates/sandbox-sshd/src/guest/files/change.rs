//! Creates and renames.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::io::Errno;
use sandbox_core::guest::Refusal;

use crate::guest::refusals::refuse_file;

/// Creates a directory and its parents.
pub(super) fn make_dir(path: &Path) -> Result<(), Refusal> {
    let refuse = |error: io::Error| refuse_file("create", path, error);
    create_parents(path).map_err(refuse)?;
    match dir_builder().create(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
            Err(refuse(Errno::NOTDIR.into()))
        }
        created => created.map_err(refuse),
    }
}

/// Renames, and creates the parents of the new path.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), Refusal> {
    // Without this check, parents would be created for nothing.
    from.symlink_metadata()
        .map_err(|error| refuse_file("move", from, error))?;
    create_parents(to).map_err(|error| refuse_file("create the parents of", to, error))?;
    std::fs::rename(from, to).map_err(|error| {
        let action = format!("move {:?} to", sandbox_core::FilePath::from(from));
        refuse_file(&action, to, error)
    })
}

/// Creates the parents of a path, and returns whether any was missing.
pub(super) fn create_parents(path: &Path) -> io::Result<bool> {
    let Some(parent) = path.parent().filter(|parent| !parent.is_dir()) else {
        return Ok(false);
    };
    match dir_builder().recursive(true).create(parent) {
        // Something else is there.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Err(Errno::NOTDIR.into()),
        created => created.map(|()| true),
    }
}

fn dir_builder() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.mode(0o755);
    builder
}
