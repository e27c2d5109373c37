//! Reads which files, directories and links a local directory has.

use std::fs::Metadata;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use sandbox_core::{Direction, FilePath, Result};

use crate::transfer::failures::Failures;
use crate::transfer::file::{local_error, local_path, mode_of};
use crate::transfer::report::Skipped;

/// The content of a local directory. Names are relative to it, with `/`.
pub(super) struct Tree {
    /// The directory itself, without a name.
    pub(super) top: Directory,
    /// The directories below the top, by depth.
    pub(super) directories: Vec<Vec<Directory>>,
    pub(super) files: Vec<(PathBuf, FilePath)>,
    /// The total size of the files, if it was requested.
    pub(super) bytes: u64,
    pub(super) symlinks: Vec<(FilePath, FilePath)>,
    pub(super) skipped: Vec<Skipped>,
}

/// A local directory and its attributes.
#[derive(Debug, Clone)]
pub(super) struct Directory {
    pub(super) name: FilePath,
    /// The permission bits with set-group-id and sticky, if this system has them.
    pub(super) mode: Option<u32>,
    pub(super) modified: Option<SystemTime>,
}

impl Directory {
    fn new(name: FilePath, metadata: &Metadata) -> Self {
        Self {
            name,
            // Set-group-id and sticky are part of how a directory is shared.
            mode: mode_of(metadata, 0o3777),
            modified: metadata.modified().ok(),
        }
    }
}

impl Tree {
    /// Reads a local directory. What cannot be read below it is a failure of its own. Blocks.
    pub(super) fn read(top: &Path, sizes: bool, failures: &Failures) -> Result<Self> {
        let metadata =
            std::fs::metadata(top).map_err(|source| local_error(Direction::Upload, top, source))?;
        let mut tree = Self {
            top: Directory::new(FilePath::default(), &metadata),
            directories: Vec::new(),
            files: Vec::new(),
            bytes: 0,
            symlinks: Vec::new(),
            skipped: Vec::new(),
        };
        let first = tree.read_directory(top, &FilePath::default(), sizes, failures)?;
        tree.directories.push(first);
        while let Some(level) = tree.directories.last().filter(|level| !level.is_empty()) {
            let mut next = Vec::new();
            for directory in level.clone() {
                match tree.read_directory(top, &directory.name, sizes, failures) {
                    Ok(directories) => next.extend(directories),
                    Err(error) => failures.record(&directory.name, error)?,
                }
            }
            tree.directories.push(next);
        }
        Ok(tree)
    }

    /// Adds the content of one directory. Returns the directories in it.
    fn read_directory(
        &mut self,
        top: &Path,
        directory: &FilePath,
        sizes: bool,
        failures: &Failures,
    ) -> Result<Vec<Directory>> {
        let path = top.join(
            local_path(directory).map_err(|source| local_error(Direction::Upload, top, source))?,
        );
        let failed = |source| local_error(Direction::Upload, &path, source);
        let mut directories = Vec::new();
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let path = entry.path();
            let name = directory.join(entry.file_name().as_encoded_bytes());
            if let Err(source) = self.add_entry(&entry, &name, sizes, &mut directories) {
                failures.record(&name, local_error(Direction::Upload, &path, source))?;
            }
        }
        Ok(directories)
    }

    /// Adds one entry, which may have vanished.
    fn add_entry(
        &mut self,
        entry: &std::fs::DirEntry,
        name: &FilePath,
        sizes: bool,
        directories: &mut Vec<Directory>,
    ) -> std::io::Result<()> {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            let metadata = entry.metadata()?;
            directories.push(Directory::new(name.clone(), &metadata));
        } else if kind.is_file() {
            if sizes {
                // One that vanished is reported when it is opened.
                let size = entry.metadata().map_or(0, |metadata| metadata.len());
                self.bytes = self.bytes.saturating_add(size);
            }
            self.files.push((entry.path(), name.clone()));
        } else if kind.is_symlink() {
            let target = std::fs::read_link(entry.path())?;
            self.symlinks.push((name.clone(), target.into()));
        } else {
            self.skipped.push(Skipped {
                path: name.clone(),
                reason: "a device, a FIFO or a socket",
            });
        }
        Ok(())
    }
}
