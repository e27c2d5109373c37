//! Downloads a directory tree. Everything that the sandbox sends is untrusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{
    Direction, DownloadRequest, Error, FileInfo, FileKind, FilePath, Result, Session,
    TransferReason,
};
use tokio::sync::Semaphore;

use super::local_dir::{self, Temporary};
use super::{LARGE_AT_ONCE, SMALL_AT_ONCE, top_path};
use crate::handle::files::LISTINGS_AT_ONCE;
use crate::memory::MemoryWriter;
use crate::transfer::file::{blocking, local_error};
use crate::transfer::local_file::LocalWriter;
use crate::transfer::progress::{Meter, Metered};
use crate::transfer::report::{Skipped, TreeReport};

/// The maximum size of a file that is downloaded into memory, in bytes.
const SMALL: u64 = 64 << 10;
/// How many small files are written by one switch to a blocking thread.
const BATCH: usize = 64;
const DOWNLOAD: Direction = Direction::Download;

/// Limits on what a download writes to this machine. The sandbox is untrusted: it can claim to have
/// any number of files of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Files, directories and links together. Default: 1,000,000.
    pub entries: u64,
    /// Bytes in all files together. Default: 64 GiB.
    pub bytes: u64,
    /// Nesting depth of directories. Default: 128.
    pub depth: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 64 << 30,
            depth: 128,
        }
    }
}

/// The local directory that receives the tree.
#[derive(Clone)]
struct TargetDir {
    top: Arc<Dir>,
    /// The path of the directory, for messages.
    path: Arc<PathBuf>,
}

/// A file that was received.
enum Received {
    Written(u64),
    InMemory(FilePath, FileInfo, Bytes),
}

/// Downloads a directory tree.
pub(crate) async fn download(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    // List the whole tree first, so that the limits hold before anything is written.
    let remote = top_path(remote);
    let entries = list_tree(session, limits, &remote).await?;
    let mut directories = Vec::new();
    let mut files = Vec::new();
    let mut links = Vec::new();
    let mut report = TreeReport {
        directories: 1,
        ..TreeReport::default()
    };
    for (name, info) in entries {
        match info.kind {
            FileKind::Directory => directories.push(name),
            FileKind::File => files.push((name, info)),
            FileKind::Symlink => links.push(name),
            _ => report.skipped.push(Skipped {
                path: name,
                reason: "a device, a FIFO or a socket",
            }),
        }
    }

    // Create the directories, then the files.
    meter.set_total(
        files
            .iter()
            .fold(0, |sum, (_, info)| sum.saturating_add(info.size)),
    );
    report.directories += directories.len() as u64;
    let target = TargetDir::create(local, directories).await?;
    (report.files, report.bytes) = receive_all(session, files, &remote, &target, meter).await?;

    // Links come last, so that no file is written through one of them.
    let targets = stream::iter(links)
        .map(|name| read_link(Arc::clone(session), remote.join(&name), name))
        .buffer_unordered(SMALL_AT_ONCE);
    for (name, link) in targets.try_collect::<Vec<_>>().await? {
        if local_dir::escapes(&name, &link) {
            let reason = "a link that leads out of the directory";
            report.skipped.push(Skipped { path: name, reason });
        } else {
            local_dir::create_link(&target.top, &link, &name)
                .map_err(|error| target.failed(&name, error))?;
            report.symlinks += 1;
        }
    }
    Ok(report)
}

/// Lists everything below a directory by relative name, parents before their children.
async fn list_tree(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: &FilePath,
) -> Result<Vec<(FilePath, FileInfo)>> {
    let too_large = |path: &FilePath, what: &str| {
        let path = remote.join(path);
        Err(Error::transfer(
            DOWNLOAD,
            path,
            TransferReason::TooLarge,
            what,
            None,
        ))
    };
    let mut found: Vec<(FilePath, FileInfo)> = Vec::new();
    let mut bytes = 0_u64;
    let mut depth = 0;
    let mut level = vec![FilePath::default()];
    while !level.is_empty() {
        if depth > limits.depth {
            return too_large(&level[0], "directories are nested deeper than the limit");
        }
        depth += 1;
        let mut listings = stream::iter(std::mem::take(&mut level))
            .map(|name| {
                let path = if name.is_empty() {
                    remote.clone()
                } else {
                    remote.join(&name)
                };
                list(Arc::clone(session), path, name)
            })
            .buffer_unordered(LISTINGS_AT_ONCE);
        while let Some((directory, entries)) = listings.try_next().await? {
            for entry in entries {
                let name = directory.join(&entry.name);
                if entry.kind == FileKind::File {
                    bytes = bytes.saturating_add(entry.size);
                }
                if bytes > limits.bytes {
                    return too_large(&directory, "the files have more bytes than the limit");
                }
                if found.len() as u64 >= limits.entries {
                    return too_large(&directory, "there are more entries than the limit");
                }
                if entry.kind == FileKind::Directory {
                    level.push(name.clone());
                }
                found.push((name, entry));
            }
        }
    }
    Ok(found)
}

async fn list(
    session: Arc<dyn Session>,
    path: FilePath,
    name: FilePath,
) -> Result<(FilePath, Vec<FileInfo>)> {
    let entries = session.list(&path).await?;
    Ok((name, entries))
}

async fn read_link(
    session: Arc<dyn Session>,
    path: FilePath,
    name: FilePath,
) -> Result<(FilePath, FilePath)> {
    let target = session.read_link(&path).await?;
    Ok((name, target))
}

/// Downloads files. Returns how many files and bytes these are.
async fn receive_all(
    session: &Arc<dyn Session>,
    files: Vec<(FilePath, FileInfo)>,
    remote: &FilePath,
    target: &TargetDir,
    meter: &Arc<Meter>,
) -> Result<(u64, u64)> {
    let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
    // Each future owns its values, because the compiler cannot prove that the whole is `Send`
    // otherwise.
    let received = stream::iter(files)
        .map(|(name, info)| {
            let session = Arc::clone(session);
            let remote = remote.join(&name);
            let target = target.clone();
            let meter = Arc::clone(meter);
            let large = Arc::clone(&large);
            async move {
                if info.size <= SMALL {
                    return receive_small(session, remote, name, info, &meter).await;
                }
                let _permit = large.acquire_owned().await.ok();
                receive_large(&session, remote, &target, &name, &info, &meter)
                    .await
                    .map(Received::Written)
            }
        })
        .buffer_unordered(SMALL_AT_ONCE);
    let written = received.ready_chunks(BATCH).map(|batch| {
        let target = target.clone();
        let meter = Arc::clone(meter);
        async move {
            target
                .write(batch.into_iter().collect::<Result<_>>()?, meter)
                .await
        }
    });
    let add = |(files, bytes), (more, size)| async move { Ok((files + more, bytes + size)) };
    written.buffer_unordered(2).try_fold((0, 0), add).await
}

/// Downloads a small file into memory.
async fn receive_small(
    session: Arc<dyn Session>,
    remote: FilePath,
    name: FilePath,
    info: FileInfo,
    meter: &Arc<Meter>,
) -> Result<Received> {
    let (writer, content) = MemoryWriter::new();
    let mut request = DownloadRequest::new(remote);
    // A file must not be larger than listed, or the limit on the total size would not hold.
    request.max_size = Some(info.size);
    session.download(request, Box::new(writer)).await?;
    let content = content.take();
    meter.add_bytes(content.len() as u64);
    Ok(Received::InMemory(name, info, content))
}

/// Downloads a file under a temporary name beside its own, and renames it.
async fn receive_large(
    session: &Arc<dyn Session>,
    remote: FilePath,
    target: &TargetDir,
    name: &FilePath,
    info: &FileInfo,
    meter: &Arc<Meter>,
) -> Result<u64> {
    let temporary =
        Temporary::create(&target.top, name).map_err(|error| target.failed(name, error))?;
    let writer = temporary
        .file()
        .try_clone()
        .map_err(|error| target.failed(name, error))?;
    let writer = Box::new(Metered::new(LocalWriter::new(writer), meter));
    let mut request = DownloadRequest::new(remote);
    request.max_size = Some(info.size);
    let size = session.download(request, writer).await?;
    temporary
        .finish(info, name)
        .map_err(|error| target.failed(name, error))?;
    meter.add_file();
    Ok(size)
}

impl TargetDir {
    /// Creates the directory and those below it.
    async fn create(local: &Path, directories: Vec<FilePath>) -> Result<Self> {
        let path = Arc::new(local.to_owned());
        blocking(DOWNLOAD, local, move || {
            let failed = |source| local_error(DOWNLOAD, &path, source);
            std::fs::create_dir_all(&*path).map_err(failed)?;
            let top = Arc::new(Dir::open_ambient_dir(&*path, ambient_authority()).map_err(failed)?);
            let target = Self { top, path };
            for name in directories {
                local_dir::create_directory(&target.top, &name)
                    .map_err(|error| target.failed(&name, error))?;
            }
            Ok(target)
        })
        .await
    }

    /// Writes the files that are in memory. Returns how many files and bytes the batch has.
    async fn write(self, received: Vec<Received>, meter: Arc<Meter>) -> Result<(u64, u64)> {
        let path = Arc::clone(&self.path);
        blocking(DOWNLOAD, &path, move || {
            let files = received.len() as u64;
            let mut bytes = 0;
            for file in received {
                bytes += match file {
                    Received::Written(size) => size,
                    Received::InMemory(name, info, content) => {
                        let written = Temporary::create(&self.top, &name).and_then(|temporary| {
                            std::io::Write::write_all(&mut temporary.file(), &content)?;
                            temporary.finish(&info, &name)
                        });
                        written.map_err(|error| self.failed(&name, error))?;
                        meter.add_file();
                        content.len() as u64
                    }
                };
            }
            Ok((files, bytes))
        })
        .await
    }

    fn failed(&self, name: &FilePath, error: std::io::Error) -> Error {
        let shown = FilePath::from(&**self.path).join(name);
        local_error(DOWNLOAD, shown.as_path().unwrap_or(&self.path), error)
    }
}
