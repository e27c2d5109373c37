//! How files are moved, beyond the usual.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use sandbox_core::Result;

use crate::meter::{Callback, Meter};
use crate::{Sandbox, TreeLimits, TreeReport};

/// Moves files and trees as it is told. Made by [`Sandbox::transfer`].
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

/// What became of one file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferReport {
    /// Its size.
    pub bytes: u64,
    /// How many of them were there already, from an earlier transfer, and are right.
    pub resumed_at: u64,
    /// Why not all that was there could be used.
    pub discarded: Option<Discarded>,
}

/// Why a part that was there was thrown away and moved once more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discarded {
    /// It is not what the file holds now, from [`resumed_at`](TransferReport::resumed_at) on:
    /// one of the two has changed.
    Changed,
    /// The sandbox cannot tell the hash of a file: its server is not ours, and it has no
    /// `sha256sum`.
    Unproved,
}

/// How far a transfer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferProgress {
    /// Bytes of content that were taken from the source, all files together. For an upload,
    /// some of them may still be on their way.
    pub bytes: u64,
    /// How many there will be, when that is known: not before the tree was looked through.
    pub total: Option<u64>,
    /// Files that are complete.
    pub files: u64,
}

impl Sandbox {
    /// A transfer of files with options, such as a progress callback.
    pub fn transfer(&self) -> Transfer {
        Transfer { sandbox: self.clone(), limits: TreeLimits::default(), resume: false, callback: None }
    }
}

impl Transfer {
    /// Tells `callback` how far it is: at the beginning, at most ten times a second, and once
    /// more when all is done. It is called beside the transfer: one that panics does no harm,
    /// and one that takes its time hears less. Only the end waits for a call that is running.
    pub fn progress(mut self, callback: impl Fn(TransferProgress) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// How much a sandbox may make this machine write; for [`download_dir`](Self::download_dir).
    pub fn limits(mut self, limits: TreeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// Whether to continue a former transfer of the same single file that was cut off, and to
    /// keep what has come when this one is. Trees are not resumed.
    ///
    /// What is kept lies beside the target under [`partial_name`](crate::partial_name) until
    /// it is complete. Before it is continued, its SHA-256 is compared with that of the
    /// source, piece by piece; what is different, and all after it, is thrown away and moved
    /// once more. Two of these to the same target must not run at once.
    pub fn resume(mut self, resume: bool) -> Self {
        self.resume = resume;
        self
    }

    /// As [`Sandbox::upload`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn upload(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<TransferReport> {
        let (meter, local, remote) = (self.meter(), local.as_ref(), remote.into());
        let report = match self.resume {
            true => self.continue_upload(local, remote, &meter).await?,
            false => TransferReport::new(self.upload_file(local, remote, &meter).await?),
        };
        meter.finish();
        Ok(report)
    }

    /// As [`Sandbox::download`].
    ///
    /// # Errors
    ///
    /// As there.
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

    /// As [`Sandbox::upload_dir`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn upload_dir(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<TreeReport> {
        let meter = self.meter();
        let report = self.upload_tree(local.as_ref(), remote.into(), &meter).await?;
        meter.finish();
        Ok(report)
    }

    /// As [`Sandbox::download_dir`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn download_dir(
        &self,
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<TreeReport> {
        let meter = self.meter();
        let report = self.download_tree(remote.into(), local.as_ref(), &meter).await?;
        meter.finish();
        Ok(report)
    }

    fn meter(&self) -> Arc<Meter> {
        Meter::new(self.callback.clone())
    }
}

impl TransferReport {
    fn new(bytes: u64) -> Self {
        Self { bytes, resumed_at: 0, discarded: None }
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
