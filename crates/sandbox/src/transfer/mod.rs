//! Transfers files and directory trees between this machine and a sandbox.

mod failures;
mod file;
pub(crate) mod limits;
mod local_file;
mod local_target;
mod partial_file;
pub(crate) mod progress;
pub(crate) mod report;
mod resume;
pub(crate) mod tree;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sandbox_core::{DownloadRequest, FilePath, Result, UploadRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use self::limits::TreeLimits;
use self::progress::{Callback, Meter, Metered, TransferProgress};
use self::report::{TransferReport, TreeReport};
use crate::handle::Sandbox;

/// Transfers files and directory trees, with options. Created by [`Sandbox::transfer`].
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// sbx.transfer()
///     .progress(|done| eprintln!("{} of {:?} bytes", done.bytes, done.total))
///     .upload_dir("./data", "data")
///     .await?;
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
#[must_use = "a transfer does nothing until one of its methods is called"]
pub struct Transfer {
    sandbox: Sandbox,
    limits: TreeLimits,
    resume: bool,
    callback: Option<Arc<Callback>>,
}

impl Sandbox {
    /// Returns a builder for transfers with options, such as a progress callback.
    pub fn transfer(&self) -> Transfer {
        Transfer {
            sandbox: self.clone(),
            limits: TreeLimits::default(),
            resume: false,
            callback: None,
        }
    }

    /// Uploads a local file to `remote`, with its permission bits and modification time. It appears
    /// there when it is complete. Returns its size in bytes.
    ///
    /// A symbolic link at `remote` is followed, and a device or FIFO gets the bytes as they arrive. A
    /// file that is replaced passes on its owner and group as far as the user in the sandbox may set
    /// them. A file that grows meanwhile is copied as long as it was when it was opened.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let bytes = sbx.upload("data.csv", "data.csv").await?; // relative to the sandbox's home
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason, also if the file
    /// shrinks meanwhile.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<u64> {
        Ok(self.transfer().upload(local, remote).await?.bytes)
    }

    /// Downloads a file of the sandbox to `local`, with its permission bits and modification time,
    /// replacing an existing file. It appears there when it is complete. Returns its size in bytes.
    ///
    /// Set-uid, set-gid and sticky bits and the permission of other users to write are dropped. A
    /// symbolic link at `local` is followed, unless another user has put it into a directory that
    /// everybody may write to; a device or FIFO gets the bytes as they arrive. A file that is
    /// replaced passes on its owner and group as far as this user may set them. A file that grows
    /// meanwhile is copied as long as it was when it was opened. Blocks of zeros become holes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason; an existing file
    /// is then unchanged. A file of more than 64 GiB is refused, unless
    /// [`limits`](Transfer::limits) permits it, and so is one for which the disk has no room.
    pub async fn download(
        &self,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<u64> {
        Ok(self.transfer().download(remote, local).await?.bytes)
    }

    /// Uploads everything from `reader` to `remote`. The file appears there when it is complete. An
    /// existing one keeps its permission bits, and links, devices and FIFOs are treated as by
    /// [`upload`](Self::upload). Returns its size in bytes.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// sbx.upload_from(tokio::io::empty(), "empty").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer); an existing file is then unchanged.
    pub async fn upload_from(
        &self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        remote: impl Into<FilePath>,
    ) -> Result<u64> {
        self.session()
            .upload(UploadRequest::new(remote), Box::new(reader))
            .await
    }

    /// Copies a file of the sandbox to `writer`, and flushes it. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer); part of the content may have been written. A file
    /// of more than 64 GiB is refused, unless [`limits`](Transfer::limits) permits it.
    pub async fn download_to(
        &self,
        remote: impl Into<FilePath>,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<u64> {
        self.transfer().download_to(remote, writer).await
    }

    /// Copies a local directory and its content to `remote`, which is created if it does not exist.
    /// Existing files and links are replaced if the directory contains them, and kept otherwise.
    /// Symbolic links are copied as links.
    ///
    /// Files and directories keep their modes and modification times, except an existing `remote`
    /// itself, which may be the home directory. Directories keep their set-gid and sticky bits;
    /// other such bits are dropped. Hard links become separate files.
    ///
    /// A file that grows is copied as long as it was when it was opened. What cannot be read, shrinks
    /// or vanishes meanwhile is in [`TreeReport::failed`], and the rest is copied.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let report = sbx.upload_dir("./src", "src").await?.check()?; // everything was copied
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed. Files
    /// copied before stay.
    pub async fn upload_dir(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<TreeReport> {
        self.transfer().upload_dir(local, remote).await
    }

    /// Copies a directory of the sandbox to the local directory `local`, which is created if it
    /// does not exist. Existing files are replaced if the directory contains them, and kept
    /// otherwise.
    ///
    /// Whatever names, links and sizes the sandbox sends, nothing is written outside of `local`:
    /// every path is resolved below it, and links are not followed. Links that lead out of it,
    /// devices and FIFOs are skipped and reported. [`Transfer::limits`] limits the size.
    ///
    /// Files and directories keep their modes and modification times, except an existing `local`
    /// itself. Set-uid, set-gid and sticky bits and the permission of other users to write are
    /// dropped.
    ///
    /// A file that grows is copied as long as it was when it was opened. What cannot be read, shrinks
    /// or vanishes meanwhile is in [`TreeReport::failed`], and the rest is copied.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) naming the first path that failed, or the limit
    /// that was reached. Files copied before stay.
    pub async fn download_dir(
        &self,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        self.transfer().download_dir(remote, local).await
    }
}

impl Transfer {
    /// Calls `callback` with the progress: at the start, at most ten times a second, and once when
    /// everything is done. It runs beside the transfer: a panic in it does no harm, and a slow
    /// callback is called less often. Only the end of the transfer waits for a running call.
    pub fn progress(mut self, callback: impl Fn(TransferProgress) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// Limits how much [`download_dir`](Self::download_dir) writes to this machine, and by its bytes
    /// also [`download`](Self::download) and [`download_to`](Self::download_to).
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let mut limits = sandbox::TreeLimits::default();
    /// limits.bytes = 1 << 30;
    /// sbx.transfer().limits(limits).download_dir("out", "./out").await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn limits(mut self, limits: TreeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether to resume an interrupted transfer of the same single file, and to keep a partial
    /// file if this transfer is interrupted. Trees are not resumed.
    ///
    /// The partial file is next to the target, under the name
    /// [`partial_name`](crate::partial_name), until it is complete. Before a transfer is resumed,
    /// the partial file is compared with the source by SHA-256, block by block. Everything from the
    /// first difference on is discarded and transferred again. Do not run two such transfers to the
    /// same target at once.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// Uploads a file, as [`Sandbox::upload`].
    ///
    /// # Errors
    ///
    /// As [`Sandbox::upload`].
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<TransferReport> {
        let meter = self.meter();
        let session = self.sandbox.session();
        let local = local.as_ref();
        let remote = remote.into();
        let report = if self.resume {
            resume::upload(session, local, remote, &meter).await?
        } else {
            TransferReport::new(file::upload(session, local, remote, &meter).await?)
        };
        meter.finish();
        Ok(report)
    }

    /// Downloads a file, as [`Sandbox::download`].
    ///
    /// # Errors
    ///
    /// As [`Sandbox::download`].
    pub async fn download(
        &self,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<TransferReport> {
        let meter = self.meter();
        let session = self.sandbox.session();
        let remote = remote.into();
        let local = local.as_ref();
        let report = if self.resume {
            resume::download(session, self.limits, remote, local, &meter).await?
        } else {
            let size = file::download(session, self.limits, remote, local, &meter).await?;
            TransferReport::new(size)
        };
        meter.finish();
        Ok(report)
    }

    /// Copies a file to `writer`, as [`Sandbox::download_to`].
    ///
    /// # Errors
    ///
    /// As [`Sandbox::download_to`].
    pub async fn download_to(
        &self,
        remote: impl Into<FilePath>,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<u64> {
        let meter = self.meter();
        let mut request = DownloadRequest::new(remote);
        request.max_size = Some(self.limits.bytes);
        let writer = Box::new(Metered::new(writer, &meter));
        let size = self.sandbox.session().download(request, writer).await?;
        meter.add_file();
        meter.finish();
        Ok(size)
    }

    /// Uploads a directory, as [`Sandbox::upload_dir`].
    ///
    /// # Errors
    ///
    /// As [`Sandbox::upload_dir`].
    pub async fn upload_dir(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<TreeReport> {
        let meter = self.meter();
        let session = self.sandbox.session();
        let report = tree::upload(session, local.as_ref(), remote.into(), &meter).await?;
        meter.finish();
        Ok(report)
    }

    /// Downloads a directory, as [`Sandbox::download_dir`].
    ///
    /// # Errors
    ///
    /// As [`Sandbox::download_dir`].
    pub async fn download_dir(
        &self,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        let meter = self.meter();
        let session = self.sandbox.session();
        let remote = remote.into();
        let local = local.as_ref();
        let report = tree::download(session, self.limits, remote, local, &meter).await?;
        meter.finish();
        Ok(report)
    }

    fn meter(&self) -> Arc<Meter> {
        Meter::new(self.callback.clone())
    }
}

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("sandbox", &self.sandbox)
            .field("limits", &self.limits)
            .field("resume", &self.resume)
            .field("progress", &self.callback.is_some())
            .finish()
    }
}
