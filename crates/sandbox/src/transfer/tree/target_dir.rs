//! The local directory that receives a tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use sandbox_core::{Direction, Error, FileInfo, FilePath, Result};

use super::local_dir::{self, Temporary};
use super::refused_dirs::RefusedDirs;
use crate::transfer::failures::Failures;
use crate::transfer::file::{blocking, local_error};
use crate::transfer::progress::Meter;

const DOWNLOAD: Direction = Direction::Download;

/// The local directory that receives a tree, with the directories below it.
#[derive(Clone)]
pub(super) struct TargetDir {
    top: Arc<Dir>,
    /// The path of the directory, for messages.
    path: Arc<PathBuf>,
    /// The directories whose attributes are set at the end, parents before their children.
    directories: Arc<Vec<(FilePath, FileInfo)>>,
}

/// A file that was received into memory.
pub(super) struct InMemory {
    pub(super) name: FilePath,
    pub(super) info: FileInfo,
    pub(super) content: Bytes,
}

impl TargetDir {
    /// Creates the directories, of which the first is the top and has no name, and parents precede
    /// their children. An existing top directory keeps its attributes: it may be the home directory.
    pub(super) async fn create(
        local: &Path,
        mut directories: Vec<(FilePath, FileInfo)>,
        failures: Arc<Failures>,
    ) -> Result<(Self, RefusedDirs)> {
        let path = Arc::new(local.to_owned());
        blocking(DOWNLOAD, local, move || {
            let failed = |source| local_error(DOWNLOAD, &path, source);
            let is_new = !path.exists();
            std::fs::create_dir_all(&*path).map_err(failed)?;
            let top = Arc::new(Dir::open_ambient_dir(&*path, ambient_authority()).map_err(failed)?);
            let mut target = Self {
                top: Arc::clone(&top),
                path: Arc::clone(&path),
                directories: Arc::default(),
            };
            let mut refused = RefusedDirs::default();
            for (name, info) in directories.iter().filter(|(name, _)| !name.is_empty()) {
                if refused.contains(name) {
                    refused.insert(name.clone());
                } else if let Err(error) = local_dir::create_directory(&top, name, info) {
                    failures.record(name, target.failed(name, error))?;
                    refused.insert(name.clone());
                }
            }
            directories.retain(|(name, _)| (is_new || !name.is_empty()) && !refused.contains(name));
            target.directories = Arc::new(directories);
            Ok((target, refused))
        })
        .await
    }

    /// Creates a file under a temporary name. Blocks.
    pub(super) fn create_file(&self, name: &FilePath) -> std::io::Result<Temporary> {
        Temporary::create(&self.top, name)
    }

    /// Writes files. Returns how many files and bytes these are.
    pub(super) async fn write(
        self,
        received: Vec<InMemory>,
        meter: Arc<Meter>,
        failures: Arc<Failures>,
    ) -> Result<(u64, u64)> {
        if received.is_empty() {
            return Ok((0, 0));
        }
        let path = Arc::clone(&self.path);
        blocking(DOWNLOAD, &path, move || {
            let (mut files, mut bytes) = (0, 0);
            for file in received {
                let written = self.create_file(&file.name).and_then(|temporary| {
                    std::io::Write::write_all(&mut temporary.file(), &file.content)?;
                    temporary.finish(&file.info, &file.name)
                });
                if let Err(error) = written {
                    failures.record(&file.name, self.failed(&file.name, error))?;
                    continue;
                }
                meter.add_file();
                (files, bytes) = (files + 1, bytes + file.content.len() as u64);
            }
            Ok((files, bytes))
        })
        .await
    }

    /// Creates a symbolic link, and replaces an existing one. Blocks.
    pub(super) fn create_link(&self, target: &FilePath, name: &FilePath) -> Result<()> {
        local_dir::create_link(&self.top, target, name).map_err(|error| self.failed(name, error))
    }

    /// Sets the modes and times of the directories, the deepest first: a parent may become read-only.
    pub(super) async fn finish(self, failures: Arc<Failures>) -> Result<()> {
        let path = Arc::clone(&self.path);
        blocking(DOWNLOAD, &path, move || {
            for (name, info) in self.directories.iter().rev() {
                if let Err(error) = local_dir::finish_directory(&self.top, name, info) {
                    failures.record(name, self.failed(name, error))?;
                }
            }
            Ok(())
        })
        .await
    }

    pub(super) fn failed(&self, name: &FilePath, error: std::io::Error) -> Error {
        let shown = FilePath::from(&**self.path).join(name);
        local_error(DOWNLOAD, shown.as_path().unwrap_or(&self.path), error)
    }
}
