//! A local directory into a sandbox.

use std::path::{Path, PathBuf};

use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, Error, Result, TransferReason};

use super::{AT_ONCE, Skipped, TreeReport, below};
use crate::Sandbox;
use crate::copy::local_error;

impl Sandbox {
    /// Copies a local directory with all that is in it to `remote`, which is made when it is
    /// not there; files that are there are replaced, others stay. Symbolic links are copied as
    /// links. Modes and times are kept.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed; also a name that is not UTF-8,
    /// which SFTP cannot carry. What was copied before stays.
    pub async fn upload_dir(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<TreeReport> {
        let (top, remote) = (local.as_ref().to_owned(), Self::tree_root(remote.into()));
        let walk = tokio::task::spawn_blocking(move || Tree::read(&top));
        let tree = walk.await.map_err(|panic| {
            Error::transfer(
                Direction::Upload,
                local.as_ref().display().to_string(),
                TransferReason::Other,
                "the directory could not be read",
                Some(Box::new(panic)),
            )
        })??;
        let session = &self.inner.session;
        let mut report = TreeReport { skipped: tree.skipped, ..TreeReport::default() };
        // Parents come before their children.
        for directory in &tree.directories {
            let path = if directory.is_empty() { remote.clone() } else { below(&remote, directory) };
            self.inner.explained(session.create_dir(&path, true).await).await?;
            report.directories += 1;
        }
        // Owned values in each future, or the whole would not be `Send` for the compiler.
        let files = stream::iter(tree.files).map(|(local, name)| {
            let (sandbox, path) = (self.clone(), below(&remote, &name));
            async move { sandbox.upload(local, path).await }
        });
        let sizes: Vec<u64> = files.buffer_unordered(AT_ONCE).try_collect().await?;
        report.files = sizes.len() as u64;
        report.bytes = sizes.iter().sum();
        for (name, target) in &tree.symlinks {
            let path = below(&remote, name);
            // In place of a link that is there, as files are.
            if session.stat(&path, false).await.is_ok() {
                self.inner.explained(session.remove_file(&path).await).await?;
            }
            self.inner.explained(session.symlink(target, &path).await).await?;
            report.symlinks += 1;
        }
        Ok(report)
    }
}

/// What is in a local directory; names are relative to it, with `/`.
#[derive(Default)]
struct Tree {
    directories: Vec<String>,
    files: Vec<(PathBuf, String)>,
    symlinks: Vec<(String, String)>,
    skipped: Vec<Skipped>,
}

impl Tree {
    fn read(top: &Path) -> Result<Self> {
        let mut tree = Self { directories: vec![String::new()], ..Self::default() };
        let mut next = 0;
        while let Some(directory) = tree.directories.get(next).cloned() {
            next += 1;
            tree.read_directory(top, &directory)?;
        }
        Ok(tree)
    }

    fn read_directory(&mut self, top: &Path, directory: &str) -> Result<()> {
        let path = top.join(directory);
        let failed = |source| local_error(Direction::Upload, &path, source);
        for entry in std::fs::read_dir(&path).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let kind = entry.file_type().map_err(failed)?;
            let name = below(directory, text(&entry.path(), entry.file_name())?.as_str());
            if kind.is_dir() {
                self.directories.push(name);
            } else if kind.is_file() {
                self.files.push((entry.path(), name));
            } else if kind.is_symlink() {
                let target = std::fs::read_link(entry.path()).map_err(failed)?;
                self.symlinks.push((name, text(&entry.path(), target.into_os_string())?));
            } else {
                self.skipped.push(Skipped { path: name, reason: "it is a device, a FIFO or a socket" });
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
