//! Downloads a directory tree file by file. Everything that the sandbox sends is untrusted.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{
    DownloadRequest, Error, FileInfo, FileKind, FilePath, Result, Session, TransferReason,
};
use tokio::sync::Semaphore;

use super::growth::{GrowingFile, Room};
use super::listing::list_tree;
use super::target_dir::{InMemory, TargetDir};
use super::{LARGE_AT_ONCE, SMALL_AT_ONCE};
use crate::memory::MemoryWriter;
use crate::transfer::failures::Failures;
use crate::transfer::limits::TreeLimits;
use crate::transfer::local_file::LocalWriter;
use crate::transfer::progress::{Meter, Metered};
use crate::transfer::report::{Skipped, TreeReport};

/// The maximum size of a file that is downloaded into memory, in bytes.
const SMALL: u64 = 64 << 10;
/// How many small files are written by one switch to a blocking thread.
const BATCH: usize = 64;

/// A file that was received.
enum Received {
    Written(u64),
    InMemory(InMemory),
    Failed,
}

/// Downloads a directory tree file by file.
pub(crate) async fn download(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    // List the whole tree first, so that the limits hold before anything is written.
    let failures = Arc::new(Failures::default());
    let (top, listing) = tokio::try_join!(
        session.stat(&remote, true),
        list_tree(session, limits, &remote, &failures)
    )?;
    let mut directories = vec![(FilePath::default(), top)];
    let mut files = Vec::new();
    let mut links = Vec::new();
    let mut report = TreeReport::default();
    for (name, info) in listing.entries {
        match info.kind {
            FileKind::Directory => directories.push((name, info)),
            FileKind::File => files.push((name, info)),
            FileKind::Symlink => links.push(name),
            _ => report.skipped.push(Skipped {
                path: name,
                reason: "a device, a FIFO or a socket",
            }),
        }
    }

    // Create the directories, then the files. Links come last, so that no file is written through one
    // of them. The directories get their attributes after their content, which needs to be written
    // and would change their times.
    meter.set_total(listing.bytes);
    report.directories = directories.len() as u64;
    let (target, refused) = TargetDir::create(local, directories, Arc::clone(&failures)).await?;
    report.directories -= refused.len() as u64;
    files.retain(|(name, _)| !refused.contains(name));
    links.retain(|name| !refused.contains(name));
    let receiving = Receiving {
        session: Arc::clone(session),
        remote,
        target: target.clone(),
        limits,
        room: Room::new(limits.bytes.saturating_sub(listing.bytes)),
        meter: Arc::clone(meter),
        failures: Arc::clone(&failures),
    };
    let received = async {
        (report.files, report.bytes) = receiving.receive_files(files).await?;
        receiving.receive_links(links, &mut report).await
    };
    let received: Result<()> = received.await;
    target.finish(Arc::clone(&failures)).await?;
    received?;
    failures.move_to(&mut report);
    Ok(report)
}

/// What the downloads of all files share.
#[derive(Clone)]
struct Receiving {
    session: Arc<dyn Session>,
    remote: FilePath,
    target: TargetDir,
    limits: TreeLimits,
    room: Arc<Room>,
    meter: Arc<Meter>,
    failures: Arc<Failures>,
}

impl Receiving {
    /// Downloads files. Returns how many files and bytes these are.
    async fn receive_files(&self, files: Vec<(FilePath, FileInfo)>) -> Result<(u64, u64)> {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        // Each future owns its values, because the compiler cannot prove that the whole is `Send`
        // otherwise.
        let received = stream::iter(files)
            .map(|(name, info)| {
                let this = self.clone();
                let large = Arc::clone(&large);
                async move {
                    match this.receive(&name, info, large).await {
                        Ok(received) => Ok(received),
                        Err(error) => {
                            this.failures.record(&name, error)?;
                            Ok(Received::Failed)
                        }
                    }
                }
            })
            .buffer_unordered(SMALL_AT_ONCE);
        let written = received.ready_chunks(BATCH).map(|batch| {
            let this = self.clone();
            async move { this.write(batch).await }
        });
        let add = |(files, bytes), (more, size)| async move { Ok((files + more, bytes + size)) };
        written.buffer_unordered(2).try_fold((0, 0), add).await
    }

    async fn receive(
        &self,
        name: &FilePath,
        info: FileInfo,
        large: Arc<Semaphore>,
    ) -> Result<Received> {
        if info.size <= SMALL {
            match self.receive_small(name, &info).await {
                Ok(content) => {
                    return Ok(Received::InMemory(InMemory {
                        name: name.clone(),
                        info,
                        content,
                    }));
                }
                // It is no longer small.
                Err(Error::Transfer(error)) if error.reason == TransferReason::TooLarge => {}
                Err(error) => return Err(error),
            }
        }
        let _permit = large.acquire_owned().await.ok();
        self.receive_large(name, &info).await.map(Received::Written)
    }

    /// Downloads a small file into memory.
    async fn receive_small(&self, name: &FilePath, info: &FileInfo) -> Result<Bytes> {
        let (writer, content) = MemoryWriter::new();
        let mut request = DownloadRequest::new(self.remote.join(name));
        request.max_size = Some(SMALL.min(self.limits.bytes));
        let writer = GrowingFile::new(writer, info.size, &self.room);
        self.session.download(request, Box::new(writer)).await?;
        let content = content.take();
        self.meter.add_bytes(content.len() as u64);
        Ok(content)
    }

    /// Downloads a file under a temporary name beside its own, and renames it.
    async fn receive_large(&self, name: &FilePath, info: &FileInfo) -> Result<u64> {
        let failed = |error| self.target.failed(name, error);
        let temporary = self.target.create_file(name).map_err(failed)?;
        let file = temporary.file().try_clone().map_err(failed)?;
        let writer = Metered::new(LocalWriter::with_holes(file), &self.meter);
        let writer = GrowingFile::new(writer, info.size, &self.room);
        let mut request = DownloadRequest::new(self.remote.join(name));
        request.max_size = Some(self.limits.max_size(info));
        let size = self.session.download(request, Box::new(writer)).await?;
        temporary.finish(info, name).map_err(failed)?;
        self.meter.add_file();
        Ok(size)
    }

    /// Writes the files that are in memory. Returns how many files and bytes the batch has.
    async fn write(self, batch: Vec<Result<Received>>) -> Result<(u64, u64)> {
        let (mut files, mut bytes) = (0, 0);
        let mut in_memory = Vec::new();
        for received in batch {
            match received? {
                Received::Written(size) => (files, bytes) = (files + 1, bytes + size),
                Received::InMemory(file) => in_memory.push(file),
                Received::Failed => {}
            }
        }
        let (more, size) = self
            .target
            .write(in_memory, self.meter, self.failures)
            .await?;
        Ok((files + more, bytes + size))
    }

    /// Downloads links, and adds them to the report.
    async fn receive_links(&self, links: Vec<FilePath>, report: &mut TreeReport) -> Result<()> {
        let targets = stream::iter(links)
            .map(|name| read_link(Arc::clone(&self.session), self.remote.join(&name), name))
            .buffer_unordered(SMALL_AT_ONCE);
        for (name, link) in targets.collect::<Vec<_>>().await {
            let created = match link {
                Ok(link) if super::local_dir::escapes(&name, &link) => {
                    let reason = "a link that leads out of the directory";
                    report.skipped.push(Skipped { path: name, reason });
                    continue;
                }
                Ok(link) => self.target.create_link(&link, &name),
                Err(error) => Err(error),
            };
            match created {
                Ok(()) => report.symlinks += 1,
                Err(error) => self.failures.record(&name, error)?,
            }
        }
        Ok(())
    }
}

async fn read_link(
    session: Arc<dyn Session>,
    path: FilePath,
    name: FilePath,
) -> (FilePath, Result<FilePath>) {
    let target = session.read_link(&path).await;
    (name, target)
}
