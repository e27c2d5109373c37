//! A local directory into a sandbox.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, Error, FileKind, Result, TransferReason};
use tokio::sync::Semaphore;

use super::{DIRECTORIES_AT_ONCE, LARGE_AT_ONCE, SMALL_AT_ONCE, Skipped, TreeReport, below, root};
use crate::copy::{Source, blocking, local_error};
use crate::meter::Meter;
use crate::{Sandbox, Transfer};

/// How many files are opened with one change of threads.
const BATCH: usize = 32;

impl Sandbox {
    /// Copies a local directory and its content to `remote`, which is created if it does not exist.
    /// Existing files are replaced if the directory contains them, and kept otherwise. Symbolic links are
    /// copied as links. Modes and modification times are kept.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let report = sbx.upload_dir("./src", "src").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed, also for a name
    /// that is not UTF-8, which SFTP cannot carry. Files copied before stay.
    pub async fn upload_dir(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<String>,
    ) -> Result<TreeReport> {
        self.transfer().upload_dir(local, remote).await
    }

    /// Makes a directory, or finds that it is there.
    async fn make_directory(self, path: String) -> Result<()> {
        let session = &self.inner.session;
        let made = match session.create_dir(&path, false).await {
            Err(Error::Transfer(error)) if error.reason == TransferReason::AlreadyExists => {
                match session.stat(&path, true).await {
                    Ok(there) if there.kind == FileKind::Directory => Ok(()),
                    Ok(_) => Err(Error::Transfer(error)),
                    Err(error) => Err(error),
                }
            }
            made => made,
        };
        self.inner.explained(made).await
    }

    /// Makes a link, in place of one that is there.
    async fn make_link(self, target: String, path: String) -> Result<()> {
        let session = &self.inner.session;
        let mut made = session.symlink(&target, &path).await;
        if matches!(&made, Err(Error::Transfer(error)) if error.reason == TransferReason::AlreadyExists)
        {
            self.inner
                .explained(session.remove_file(&path).await)
                .await?;
            made = session.symlink(&target, &path).await;
        }
        self.inner.explained(made).await
    }
}

impl Transfer {
    pub(crate) async fn upload_tree(
        &self,
        local: &Path,
        remote: String,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport> {
        let (top, remote, sizes) = (local.to_owned(), root(remote), meter.is_watched());
        let tree = blocking(Direction::Upload, local, move || Tree::read(&top, sizes)).await?;
        if sizes {
            meter.expect(tree.bytes);
        }
        let sandbox = &self.sandbox;
        sandbox
            .inner
            .explained(sandbox.inner.session.create_dir(&remote, true).await)
            .await?;
        let mut report = TreeReport {
            directories: 1,
            skipped: tree.skipped,
            ..TreeReport::default()
        };
        // Owned values in each future, or the whole would not be `Send` for the compiler.
        for level in tree.directories {
            report.directories += level.len() as u64;
            let making = stream::iter(level)
                .map(|name| sandbox.clone().make_directory(below(&remote, &name)))
                .buffer_unordered(DIRECTORIES_AT_ONCE);
            making.try_collect::<()>().await?;
        }
        (report.files, report.bytes) = self.send_all(tree.files, &remote, meter).await?;
        report.symlinks = tree.symlinks.len() as u64;
        let linking = stream::iter(tree.symlinks)
            .map(|(name, target)| sandbox.clone().make_link(target, below(&remote, &name)))
            .buffer_unordered(DIRECTORIES_AT_ONCE);
        linking.try_collect::<()>().await?;
        Ok(report)
    }

    /// How many files and bytes.
    async fn send_all(
        &self,
        files: Vec<(PathBuf, String)>,
        remote: &str,
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
        let sending = opened.map_ok(|(source, name): (Source, String)| {
            let (sandbox, path) = (self.sandbox.clone(), below(remote, &name));
            let (meter, large) = (Arc::clone(meter), Arc::clone(&large));
            async move {
                let _turn = if source.is_small() {
                    None
                } else {
                    large.acquire_owned().await.ok()
                };
                source.send(&sandbox, path, &meter).await
            }
        });
        let add = |(files, bytes), size| async move { Ok((files + 1, bytes + size)) };
        sending
            .try_buffer_unordered(SMALL_AT_ONCE)
            .try_fold((0, 0), add)
            .await
    }
}

fn batches(files: Vec<(PathBuf, String)>) -> impl Iterator<Item = Vec<(PathBuf, String)>> {
    let mut files = files.into_iter().peekable();
    std::iter::from_fn(move || {
        files
            .peek()
            .is_some()
            .then(|| files.by_ref().take(BATCH).collect())
    })
}

/// What is in a local directory; names are relative to it, with `/`.
#[derive(Default)]
struct Tree {
    /// Those below the top, by how deep they lie.
    directories: Vec<Vec<String>>,
    files: Vec<(PathBuf, String)>,
    /// In all files, if they were asked for.
    bytes: u64,
    symlinks: Vec<(String, String)>,
    skipped: Vec<Skipped>,
}

impl Tree {
    fn read(top: &Path, sizes: bool) -> Result<Self> {
        let mut tree = Self::default();
        let mut level = vec![String::new()];
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
        directory: &str,
        sizes: bool,
        directories: &mut Vec<String>,
    ) -> Result<()> {
        let path = top.join(directory);
        let failed = |source| local_error(Direction::Upload, &path, source);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = below(directory, text(&entry.path(), entry.file_name())?.as_str());
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
                self.symlinks
                    .push((name, text(&entry.path(), target.into_os_string())?));
            } else {
                self.skipped.push(Skipped {
                    path: name,
                    reason: "it is a device, a FIFO or a socket",
                });
            }
        }
        Ok(())
    }
}

fn text(path: &Path, name: std::ffi::OsString) -> Result<String> {
    name.into_string().map_err(|_| {
        Error::transfer(
            Direction::Upload,
            path.display().to_string(),
            TransferReason::BadName,
            "its name is not UTF-8, which SFTP cannot carry; rename it",
            None,
        )
    })
}
