//! Uploads a directory tree file by file.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, Error, FilePath, Result, Session, TransferReason};
use tokio::sync::Semaphore;

use super::local_tree::Tree;
use super::remote_dirs::RemoteDirs;
use super::{DIRECTORIES_AT_ONCE, LARGE_AT_ONCE, SMALL_AT_ONCE};
use crate::transfer::failures::Failures;
use crate::transfer::file::{Source, blocking};
use crate::transfer::progress::Meter;
use crate::transfer::report::TreeReport;

/// How many files are opened by one switch to a blocking thread.
const BATCH: usize = 32;

/// Uploads a directory tree file by file.
pub(crate) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let failures = Arc::new(Failures::default());
    let top = local.to_owned();
    let sizes = meter.is_watched();
    let recorded = Arc::clone(&failures);
    let mut tree = blocking(Direction::Upload, local, move || {
        Tree::read(&top, sizes, &recorded)
    })
    .await?;
    if sizes {
        meter.set_total(tree.bytes);
    }

    // Create the directories, level by level, then the files, and the links last. The directories get
    // their attributes after their content, which needs to be written and would change their times.
    let mut directories = RemoteDirs::create(session, remote.clone()).await?;
    let mut report = TreeReport {
        directories: 1,
        skipped: tree.skipped,
        ..TreeReport::default()
    };
    for level in &tree.directories {
        report.directories += directories.create_level(level, &failures).await?;
    }
    tree.files.retain(|(_, name)| !directories.is_refused(name));
    tree.symlinks
        .retain(|(name, _)| !directories.is_refused(name));
    let sending = Sending {
        session: Arc::clone(session),
        remote,
        meter: Arc::clone(meter),
        failures: Arc::clone(&failures),
    };
    let sent = async {
        (report.files, report.bytes) = sending.send_files(tree.files, &directories).await?;
        report.symlinks = sending.create_links(tree.symlinks).await?;
        Ok(())
    };
    let sent: Result<()> = sent.await;
    if let Err(error) = &sent
        && is_lost(error)
    {
        return sent.map(|()| report);
    }
    directories
        .finish(&tree.top, &tree.directories, &failures)
        .await?;
    sent?;
    failures.move_to(&mut report);
    Ok(report)
}

/// What the uploads of all files share.
struct Sending {
    session: Arc<dyn Session>,
    remote: FilePath,
    meter: Arc<Meter>,
    failures: Arc<Failures>,
}

impl Sending {
    /// Uploads files. Returns how many files and bytes these are.
    async fn send_files(
        &self,
        files: Vec<(PathBuf, FilePath)>,
        directories: &RemoteDirs,
    ) -> Result<(u64, u64)> {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        let opened = stream::iter(batches(files))
            .map(|batch| open_files(batch, Arc::clone(&self.failures)))
            .buffered(2)
            .map_ok(|sources| stream::iter(sources).map(Ok))
            .try_flatten();
        let sending = opened.map_ok(|(source, name): (Source, FilePath)| {
            let session = Arc::clone(&self.session);
            let path = self.remote.join(&name);
            let policy = directories.policy(&name);
            let meter = Arc::clone(&self.meter);
            let large = Arc::clone(&large);
            let failures = Arc::clone(&self.failures);
            async move {
                let _permit = if source.is_small() {
                    None
                } else {
                    large.acquire_owned().await.ok()
                };
                match source.send(&session, path, policy, &meter).await {
                    Ok(size) => Ok(Some(size)),
                    Err(error) => failures.record(&name, error).map(|()| None),
                }
            }
        });
        let add = |(files, bytes), sent: Option<u64>| async move {
            Ok(match sent {
                Some(size) => (files + 1, bytes + size),
                None => (files, bytes),
            })
        };
        sending
            .try_buffer_unordered(SMALL_AT_ONCE)
            .try_fold((0, 0), add)
            .await
    }

    /// Creates links. Returns how many.
    async fn create_links(&self, links: Vec<(FilePath, FilePath)>) -> Result<u64> {
        let linking = stream::iter(links)
            .map(|(name, target)| {
                let session = Arc::clone(&self.session);
                let path = self.remote.join(&name);
                let failures = Arc::clone(&self.failures);
                async move {
                    match create_link(session, target, path).await {
                        Ok(()) => Ok(1),
                        Err(error) => failures.record(&name, error).map(|()| 0),
                    }
                }
            })
            .buffer_unordered(DIRECTORIES_AT_ONCE);
        linking
            .try_fold(0, |sum, one| async move { Ok(sum + one) })
            .await
    }
}

/// Opens files on a blocking thread, and reads the small ones.
async fn open_files(
    batch: Vec<(PathBuf, FilePath)>,
    failures: Arc<Failures>,
) -> Result<Vec<(Source, FilePath)>> {
    let first = batch
        .first()
        .map(|(path, _)| path.clone())
        .unwrap_or_default();
    blocking(Direction::Upload, &first, move || {
        let mut opened = Vec::with_capacity(batch.len());
        for (path, name) in batch {
            match Source::open(path) {
                Ok(source) => opened.push((source, name)),
                Err(error) => failures.record(&name, error)?,
            }
        }
        Ok(opened)
    })
    .await
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

/// Whether nothing more can be done in the sandbox.
fn is_lost(error: &Error) -> bool {
    !matches!(error, Error::Transfer(error) if error.reason == TransferReason::NoSpace)
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
