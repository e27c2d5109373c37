//! Uploads a directory tree.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, Error, FileKind, FilePath, Result, Session, TransferReason};
use tokio::sync::Semaphore;

use super::{DIRECTORIES_AT_ONCE, LARGE_AT_ONCE, SMALL_AT_ONCE, top_path};
use crate::transfer::file::{Source, blocking, local_error, local_path};
use crate::transfer::progress::Meter;
use crate::transfer::report::{Skipped, TreeReport};

/// How many files are opened by one switch to a blocking thread.
const BATCH: usize = 32;

/// Uploads a directory tree.
pub(crate) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let top = local.to_owned();
    let remote = top_path(remote);
    let sizes = meter.is_watched();
    let tree = blocking(Direction::Upload, local, move || Tree::read(&top, sizes)).await?;
    if sizes {
        meter.set_total(tree.bytes);
    }
    session.create_dir(&remote, true).await?;
    let mut report = TreeReport {
        directories: 1,
        skipped: tree.skipped,
        ..TreeReport::default()
    };

    // Create the directories, level by level, then the files, and the links last. Each future owns
    // its values, because the compiler cannot prove that the whole is `Send` otherwise.
    for level in tree.directories {
        report.directories += level.len() as u64;
        let creating = stream::iter(level)
            .map(|name| create_directory(Arc::clone(session), remote.join(&name)))
            .buffer_unordered(DIRECTORIES_AT_ONCE);
        creating.try_collect::<()>().await?;
    }
    (report.files, report.bytes) = send_all(session, tree.files, &remote, meter).await?;
    report.symlinks = tree.symlinks.len() as u64;
    let linking = stream::iter(tree.symlinks)
        .map(|(name, target)| create_link(Arc::clone(session), target, remote.join(&name)))
        .buffer_unordered(DIRECTORIES_AT_ONCE);
    linking.try_collect::<()>().await?;
    Ok(report)
}

/// Creates a directory, and accepts an existing one.
async fn create_directory(session: Arc<dyn Session>, path: FilePath) -> Result<()> {
    match session.create_dir(&path, false).await {
        Err(Error::Transfer(error)) if error.reason == TransferReason::AlreadyExists => {
            match session.stat(&path, true).await {
                Ok(existing) if existing.kind == FileKind::Directory => Ok(()),
                Ok(_) => Err(Error::Transfer(error)),
                Err(error) => Err(error),
            }
        }
        created => created,
    }
}

/// Creates a symbolic link, and replaces an existing one.
async fn create_link(session: Arc<dyn Session>, target: FilePath, path: FilePath) -> Result<()> {
    let created = session.symlink(&target, &path).await;
    if matches!(&created, Err(Error::Transfer(error)) if error.reason == TransferReason::AlreadyExists)
    {
        session.remove_file(&path).await?;
        return session.symlink(&target, &path).await;
    }
    created
}

/// Uploads files. Returns how many files and bytes these are.
async fn send_all(
    session: &Arc<dyn Session>,
    files: Vec<(PathBuf, FilePath)>,
    remote: &FilePath,
    meter: &Arc<Meter>,
) -> Result<(u64, u64)> {
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    let opened = stream::iter(batches(files))
        .map(|batch| async move {
            let first = batch
                .first()
                .map(|(path, _)| path.clone())
                .unwrap_or_default();
            blocking(Direction::Upload, &first, move || {
                let open = |(path, name)| Ok((Source::open(path)?, name));
                batch.into_iter().map(open).collect::<Result<Vec<_>>>()
            })
            .await
        })
        .buffered(2)
        .map_ok(|sources| stream::iter(sources).map(Ok))
        .try_flatten();
    let sending = opened.map_ok(|(source, name): (Source, FilePath)| {
        let session = Arc::clone(session);
        let path = remote.join(&name);
        let meter = Arc::clone(meter);
        let large = Arc::clone(&large);
        async move {
            let _permit = if source.is_small() {
                None
            } else {
                large.acquire_owned().await.ok()
            };
            source.send(&session, path, &meter).await
        }
    });
    let add = |(files, bytes), size| async move { Ok((files + 1, bytes + size)) };
    sending
        .try_buffer_unordered(SMALL_AT_ONCE)
        .try_fold((0, 0), add)
        .await
}

/// Splits a list of files into batches.
fn batches(files: Vec<(PathBuf, FilePath)>) -> impl Iterator<Item = Vec<(PathBuf, FilePath)>> {
    let mut files = files.into_iter().peekable();
    std::iter::from_fn(move || {
        files
            .peek()
            .is_some()
            .then(|| files.by_ref().take(BATCH).collect())
    })
}

/// The content of a local directory. Names are relative to it, with `/`.
#[derive(Default)]
struct Tree {
    /// The directories below the top, by depth.
    directories: Vec<Vec<FilePath>>,
    files: Vec<(PathBuf, FilePath)>,
    /// The total size of the files, if it was requested.
    bytes: u64,
    symlinks: Vec<(FilePath, FilePath)>,
    skipped: Vec<Skipped>,
}

impl Tree {
    fn read(top: &Path, sizes: bool) -> Result<Self> {
        let mut tree = Self::default();
        let mut level = vec![FilePath::default()];
        while !level.is_empty() {
            let mut next = Vec::new();
            for directory in &level {
                tree.read_directory(top, directory, sizes, &mut next)?;
            }
            tree.directories.push(next.clone());
            level = next;
        }
        Ok(tree)
    }

    fn read_directory(
        &mut self,
        top: &Path,
        directory: &FilePath,
        sizes: bool,
        directories: &mut Vec<FilePath>,
    ) -> Result<()> {
        let path = top.join(
            local_path(directory).map_err(|source| local_error(Direction::Upload, top, source))?,
        );
        let failed = |source| local_error(Direction::Upload, &path, source);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = directory.join(entry.file_name().as_encoded_bytes());
            if kind.is_dir() {
                directories.push(name);
            } else if kind.is_file() {
                if sizes {
                    self.bytes = self
                        .bytes
                        .saturating_add(entry.metadata().map_err(failed)?.len());
                }
                self.files.push((entry.path(), name));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).map_err(failed)?;
                self.symlinks.push((name, target.into()));
            } else {
                self.skipped.push(Skipped {
                    path: name,
                    reason: "a device, a FIFO or a socket",
                });
            }
        }
        Ok(())
    }
}
