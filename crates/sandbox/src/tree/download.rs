//! A directory of a sandbox onto this machine. What is inside is untrusted.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{Direction, DownloadRequest, Error, FileInfo, FileKind, Result, TransferReason};
use tokio::sync::Semaphore;

use super::local::{self, Temporary};
use super::{LARGE_AT_ONCE, LISTINGS_AT_ONCE, SMALL_AT_ONCE, Skipped, TreeReport, below, root};
use crate::copy::{blocking, local_error};
use crate::local_file::LocalWriter;
use crate::memory::MemoryWriter;
use crate::meter::{Meter, Metered};
use crate::{Sandbox, Transfer};

/// A file of at most so many bytes is written at once.
const SMALL: u64 = 64 << 10;
/// How many small files are written with one change of threads.
const BATCH: usize = 64;
const DOWNLOAD: Direction = Direction::Download;

impl Sandbox {
    /// Copies a directory of the sandbox to the local directory `local`, which is created if it does not
    /// exist. Existing files are replaced if the directory contains them, and kept otherwise.
    ///
    /// Whatever names, links and sizes the sandbox sends, nothing is written outside of `local`: every
    /// path is resolved below it, and links are not followed. Links that lead out of it, devices and
    /// FIFOs are skipped and reported. Set-uid bits are dropped. [`Transfer::limits`] limits the size.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed, or the limit that
    /// was reached. Files copied before stay.
    pub async fn download_dir(
        &self,
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        self.transfer().download_dir(remote, local).await
    }

    async fn list_below(self, path: String, name: String) -> Result<(String, Vec<FileInfo>)> {
        let entries = self
            .inner
            .explained(self.inner.session.list(&path).await)
            .await?;
        Ok((name, entries))
    }

    async fn target_of(self, path: String, name: String) -> Result<(String, String)> {
        let target = self
            .inner
            .explained(self.inner.session.read_link(&path).await)
            .await?;
        Ok((name, target))
    }
}

/// Where a tree goes.
#[derive(Clone)]
struct Place {
    /// Below which everything is written.
    top: Arc<Dir>,
    /// For messages.
    path: Arc<PathBuf>,
}

/// What became of a file so far.
enum Received {
    Written(u64),
    InMemory(String, FileInfo, Bytes),
}

impl Transfer {
    pub(crate) async fn download_tree(
        &self,
        remote: String,
        local: &Path,
        meter: &Arc<Meter>,
    ) -> Result<TreeReport> {
        let remote = root(remote);
        let entries = self.look_through(&remote).await?;
        let (mut directories, mut files, mut links) = (Vec::new(), Vec::new(), Vec::new());
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
                    reason: "it is a device, a FIFO or a socket",
                }),
            }
        }
        meter.expect(
            files
                .iter()
                .fold(0, |sum, (_, info)| sum.saturating_add(info.size)),
        );
        report.directories += directories.len() as u64;
        let place = Place::make(local, directories).await?;
        (report.files, report.bytes) = self.receive_all(files, &remote, &place, meter).await?;
        // Links come last, so that no file is written through one of them.
        let targets = stream::iter(links)
            .map(|name| self.sandbox.clone().target_of(below(&remote, &name), name))
            .buffer_unordered(SMALL_AT_ONCE);
        for (name, target) in targets.try_collect::<Vec<_>>().await? {
            if local::leads_out(&name, &target) {
                let reason = "it is a link that leads out of the directory";
                report.skipped.push(Skipped { path: name, reason });
            } else {
                local::make_link(&place.top, &target, &name)
                    .map_err(|error| place.failed(&name, error))?;
                report.symlinks += 1;
            }
        }
        Ok(report)
    }

    /// Everything below a directory, parents before their children, by relative name.
    async fn look_through(&self, remote: &str) -> Result<Vec<(String, FileInfo)>> {
        let limits = self.limits;
        let too_large = |path: &str, what: &str| {
            let path = below(remote, path);
            Err(Error::transfer(
                DOWNLOAD,
                path,
                TransferReason::TooLarge,
                what,
                None,
            ))
        };
        let mut found: Vec<(String, FileInfo)> = Vec::new();
        let (mut bytes, mut depth) = (0_u64, 0);
        let mut level = vec![String::new()];
        while !level.is_empty() {
            if depth > limits.depth {
                return too_large(&level[0], "its directories lie deeper than the limit");
            }
            depth += 1;
            let mut listings = stream::iter(std::mem::take(&mut level))
                .map(|name| {
                    let path = if name.is_empty() {
                        remote.to_owned()
                    } else {
                        below(remote, &name)
                    };
                    self.sandbox.clone().list_below(path, name)
                })
                .buffer_unordered(LISTINGS_AT_ONCE);
            while let Some((directory, entries)) = listings.try_next().await? {
                for entry in entries {
                    let name = below(&directory, &entry.name);
                    if entry.kind == FileKind::File {
                        bytes = bytes.saturating_add(entry.size);
                    }
                    if bytes > limits.bytes {
                        return too_large(&directory, "its files have more bytes than the limit");
                    }
                    if found.len() as u64 >= limits.entries {
                        return too_large(&directory, "it has more entries than the limit");
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

    /// How many files and bytes.
    async fn receive_all(
        &self,
        files: Vec<(String, FileInfo)>,
        remote: &str,
        place: &Place,
        meter: &Arc<Meter>,
    ) -> Result<(u64, u64)> {
        let large = Arc::new(Semaphore::new(LARGE_AT_ONCE));
        // Owned values in each future, or the whole would not be `Send` for the compiler.
        let received = stream::iter(files)
            .map(|(name, info)| {
                let (sandbox, remote, place) =
                    (self.sandbox.clone(), below(remote, &name), place.clone());
                let (meter, large) = (Arc::clone(meter), Arc::clone(&large));
                async move {
                    if info.size <= SMALL {
                        return sandbox.receive_small(remote, name, info, &meter).await;
                    }
                    let _turn = large.acquire_owned().await.ok();
                    sandbox
                        .receive(remote, &place, &name, &info, &meter)
                        .await
                        .map(Received::Written)
                }
            })
            .buffer_unordered(SMALL_AT_ONCE);
        let written = received.ready_chunks(BATCH).map(|batch| {
            let (place, meter) = (place.clone(), Arc::clone(meter));
            async move {
                place
                    .write(batch.into_iter().collect::<Result<_>>()?, meter)
                    .await
            }
        });
        let add = |(files, bytes), (more, size)| async move { Ok((files + more, bytes + size)) };
        written.buffer_unordered(2).try_fold((0, 0), add).await
    }
}

impl Sandbox {
    async fn receive_small(
        self,
        remote: String,
        name: String,
        info: FileInfo,
        meter: &Arc<Meter>,
    ) -> Result<Received> {
        let (writer, content) = MemoryWriter::new();
        let mut request = DownloadRequest::new(remote);
        // No more than was announced, so that the limit on all of them holds.
        request.max_size = Some(info.size);
        self.inner
            .explained(self.inner.session.download(request, Box::new(writer)).await)
            .await?;
        let content = content.take();
        meter.moved(content.len() as u64);
        Ok(Received::InMemory(name, info, content))
    }

    /// One file, to a temporary name beside its own, which it takes when complete.
    async fn receive(
        &self,
        remote: String,
        place: &Place,
        name: &str,
        info: &FileInfo,
        meter: &Arc<Meter>,
    ) -> Result<u64> {
        let temporary =
            Temporary::create(&place.top, name).map_err(|error| place.failed(name, error))?;
        let writer = temporary
            .file()
            .try_clone()
            .map_err(|error| place.failed(name, error))?;
        let writer = Box::new(Metered::new(LocalWriter::new(writer), meter));
        let mut request = DownloadRequest::new(remote);
        request.max_size = Some(info.size);
        let size = self
            .inner
            .explained(self.inner.session.download(request, writer).await)
            .await?;
        temporary
            .finish(info, name)
            .map_err(|error| place.failed(name, error))?;
        meter.file_done();
        Ok(size)
    }
}

impl Place {
    /// Makes the directory and those below it.
    async fn make(local: &Path, directories: Vec<String>) -> Result<Self> {
        let path = Arc::new(local.to_owned());
        blocking(DOWNLOAD, local, move || {
            let failed = |source| local_error(DOWNLOAD, &path, source);
            std::fs::create_dir_all(&*path).map_err(failed)?;
            let top = Arc::new(Dir::open_ambient_dir(&*path, ambient_authority()).map_err(failed)?);
            let place = Self { top, path };
            for name in directories {
                local::make_directory(&place.top, &name)
                    .map_err(|error| place.failed(&name, error))?;
            }
            Ok(place)
        })
        .await
    }

    /// Writes what is in memory. How many files and bytes there are now.
    async fn write(self, received: Vec<Received>, meter: Arc<Meter>) -> Result<(u64, u64)> {
        let path = Arc::clone(&self.path);
        blocking(DOWNLOAD, &path, move || {
            let (files, mut bytes) = (received.len() as u64, 0);
            for file in received {
                bytes += match file {
                    Received::Written(size) => size,
                    Received::InMemory(name, info, content) => {
                        let written = Temporary::create(&self.top, &name).and_then(|temporary| {
                            std::io::Write::write_all(&mut temporary.file(), &content)?;
                            temporary.finish(&info, &name)
                        });
                        written.map_err(|error| self.failed(&name, error))?;
                        meter.file_done();
                        content.len() as u64
                    }
                };
            }
            Ok((files, bytes))
        })
        .await
    }

    fn failed(&self, name: &str, error: std::io::Error) -> Error {
        local_error(DOWNLOAD, &self.path.join(name), error)
    }
}
