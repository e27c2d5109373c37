//! Transfers files and directory trees between this machine and a sandbox.

mod file;
mod local_file;
pub(crate) mod progress;
pub(crate) mod report;
mod resume;
pub(crate) mod tree;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sandbox_core::{DownloadRequest, FilePath, Result, UploadRequest};
use tokio::io::{AsyncRead, AsyncWrite};

use self::progress::{Callback, Meter, TransferProgress};
use self::report::{TransferReport, TreeReport};
use self::tree::download::TreeLimits;
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
    /// shrinks or grows meanwhile.
    pub async fn upload(
        &self,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<u64> {
        Ok(self.transfer().upload(local, remote).await?.bytes)
    }

    /// Downloads a file of the sandbox to `local`, replacing an existing file. It appears there
    /// when it is complete. Set-uid, set-gid and sticky bits are dropped. Returns its size in
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason; an existing file
    /// is then unchanged.
    pub async fn download(
        &self,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<u64> {
        Ok(self.transfer().download(remote, local).await?.bytes)
    }

    /// Uploads everything from `reader` to `remote`. The file appears there when it is complete.
    /// Returns its size in bytes.
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
    /// [`Error::Transfer`](crate::Error::Transfer); part of the content may have been written.
    pub async fn download_to(
        &self,
        remote: impl Into<FilePath>,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<u64> {
        self.session()
            .download(DownloadRequest::new(remote), Box::new(writer))
            .await
    }

    /// Copies a local directory and its content to `remote`, which is created if it does not exist.
    /// Existing files are replaced if the directory contains them, and kept otherwise. Symbolic
    /// links are copied as links. Modes and modification times are kept.
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
    /// devices and FIFOs are skipped and reported. Set-uid bits are dropped. [`Transfer::limits`]
    /// limits the size.
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

    /// Limits how much [`download_dir`](Self::download_dir) writes to this machine.
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
            resume::download(session, remote, local, &meter).await?
        } else {
            TransferReport::new(file::download(session, remote, local, &meter).await?)
        };
        meter.finish();
        Ok(report)
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
        let report = tree::upload::upload(
            self.sandbox.session(),
            local.as_ref(),
            remote.into(),
            &meter,
        )
        .await?;
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
        let report = tree::download::download(session, self.limits, remote, local, &meter).await?;
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
