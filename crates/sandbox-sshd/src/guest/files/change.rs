//! Creates and renames.

use std::fs::DirBuilder;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use rustix::io::Errno;
use sandbox_core::guest::Refusal;

use super::actor::Owner;
use crate::guest::refusals::refuse_file;

/// Creates a directory and its parents, which belong to the owner.
pub(super) fn make_dir(path: &Path, owner: Option<Owner>) -> Result<(), Refusal> {
    let refuse = |error: io::Error| refuse_file("create", path, error);
    create_parents(path, owner).map_err(refuse)?;
    match create_dir(path, owner) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && !path.is_dir() => {
            Err(refuse(Errno::NOTDIR.into()))
        }
        created => created.map_err(refuse),
    }
}

/// Renames, and creates the parents of the new path, which belong to the owner.
pub(super) fn rename(from: &Path, to: &Path, owner: Option<Owner>) -> Result<(), Refusal> {
    // Without this check, parents would be created for nothing.
    from.symlink_metadata()
        .map_err(|error| refuse_file("move", from, error))?;
    create_parents(to, owner).map_err(|error| refuse_file("create the parents of", to, error))?;
    std::fs::rename(from, to).map_err(|error| {
        let action = format!("move {:?} to", sandbox_core::FilePath::from(from));
        refuse_file(&action, to, error)
    })
}

/// Creates the parents of a path, which belong to the owner, and returns whether any was missing.
pub(super) fn create_parents(path: &Path, owner: Option<Owner>) -> io::Result<bool> {
    let Some(parent) = path.parent() else {
        return Ok(false);
    };
    let missing: Vec<&Path> = parent
        .ancestors()
        .take_while(|directory| !directory.is_dir())
        .collect();
    for directory in missing.iter().rev() {
        match create_dir(directory, owner) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // Another process may have created it. Otherwise something else is there.
                if !directory.is_dir() {
                    return Err(Errno::NOTDIR.into());
                }
            }
            created => created?,
        }
    }
    Ok(!missing.is_empty())
}

fn create_dir(path: &Path, owner: Option<Owner>) -> io::Result<()> {
    DirBuilder::new().mode(0o755).create(path)?;
    match owner {
        Some(owner) => owner.take_directory(path),
        None => Ok(()),
    }
}
