//! File transfers with options.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sandbox_core::Result;

use crate::meter::{Callback, Meter};
use crate::{Sandbox, TreeLimits, TreeReport};

/// Transfers files and directory trees, with options. Made by [`Sandbox::transfer`].
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
#[must_use = "it moves nothing until it is told what"]
pub struct Transfer {
    pub(crate) sandbox: Sandbox,
    pub(crate) limits: TreeLimits,
    resume: bool,
    callback: Option<Arc<Callback>>,
}

/// The result of transferring one file.
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let report = sbx.transfer().resume(true).upload("big.tar", "big.tar").await?;
/// println!("{} bytes, {} of them from an earlier transfer", report.bytes, report.resumed_at);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferReport {
    /// The size of the file in bytes.
    pub bytes: u64,
    /// How many of these bytes were already there from an earlier transfer, and verified.
    pub resumed_at: u64,
    /// Why a partial file was not used, or only in part.
    pub discarded: Option<Discarded>,
}

/// Why part of an earlier transfer was discarded and transferred again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discarded {
    /// The partial file and the source differ from [`resumed_at`](TransferReport::resumed_at) on: one
    /// of them has changed.
    Changed,
    /// The sandbox cannot compute the hash of a file: its SSH server is not the SDK's own, and it has
    /// no `sha256sum`.
    Unproved,
}

/// The progress of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferProgress {
    /// Bytes of content read from the source, all files together. In an upload, some of them may not
    /// have arrived yet.
    pub bytes: u64,
    /// The total number of bytes, once it is known: for a tree, after it was listed.
    pub total: Option<u64>,
    /// The number of complete files.
    pub files: u64,
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
}

impl Transfer {
    /// Calls `callback` with the progress: at the start, at most ten times a second, and once when
    /// everything is done. It runs beside the transfer: a panic in it does no harm, and a slow callback
    /// is called less often. Only the end of the transfer waits for a running call.
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

    /// Whether to resume an interrupted transfer of the same single file, and to keep a partial file if
    /// this transfer is interrupted. Trees are not resumed.
    ///
    /// The partial file is next to the target, under the name [`partial_name`](crate::partial_name),
    /// until it is complete. Before a transfer is resumed, the partial file is compared with the source
    /// by SHA-256, block by block. Everything from the first difference on is discarded and transferred
    /// again. Do not run two such transfers to the same target at once.
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
        remote: impl Into<String>,
    ) -> Result<TransferReport> {
        let (meter, local, remote) = (self.meter(), local.as_ref(), remote.into());
        let report = match self.resume {
            true => self.continue_upload(local, remote, &meter).await?,
            false => TransferReport::new(self.upload_file(local, remote, &meter).await?),
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
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<TransferReport> {
        let (meter, local, remote) = (self.meter(), local.as_ref(), remote.into());
        let report = match self.resume {
            true => self.continue_download(remote, local, &meter).await?,
            false => TransferReport::new(self.download_file(remote, local, &meter).await?),
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
        remote: impl Into<String>,
    ) -> Result<TreeReport> {
        let meter = self.meter();
        let report = self
            .upload_tree(local.as_ref(), remote.into(), &meter)
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
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        let meter = self.meter();
        let report = self
            .download_tree(remote.into(), local.as_ref(), &meter)
            .await?;
        meter.finish();
        Ok(report)
    }

    fn meter(&self) -> Arc<Meter> {
        Meter::new(self.callback.clone())
    }
}

impl TransferReport {
    fn new(bytes: u64) -> Self {
        Self {
            bytes,
            resumed_at: 0,
            discarded: None,
        }
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
