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
    callback: Option<Arc<Callback>>,
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
        Transfer { sandbox: self.clone(), limits: TreeLimits::default(), callback: None }
    }
}

impl Transfer {
    /// Tells `callback` how far it is: at the beginning, at most ten times a second, and once
    /// more when all is done. It is called by a task of its own, so that one that panics or
    /// takes its time does not harm the transfer; it then hears less.
    pub fn progress(mut self, callback: impl Fn(TransferProgress) + Send + Sync + 'static) -> Self {
        self.callback = Some(Arc::new(callback));
        self
    }

    /// How much a sandbox may make this machine write; for [`download_dir`](Self::download_dir).
    pub fn limits(mut self, limits: TreeLimits) -> Self {
        self.limits = limits;
        self
    }

    /// As [`Sandbox::upload`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn upload(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<u64> {
        let meter = self.meter();
        let sent = self.upload_file(local.as_ref(), remote.into(), &meter).await?;
        meter.finish();
        Ok(sent)
    }

    /// As [`Sandbox::download`].
    ///
    /// # Errors
    ///
    /// As there.
    pub async fn download(&self, remote: impl Into<String>, local: impl AsRef<Path>) -> Result<u64> {
        let meter = self.meter();
        let received = self.download_file(remote.into(), local.as_ref(), &meter).await?;
        meter.finish();
        Ok(received)
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

impl fmt::Debug for Transfer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transfer")
            .field("sandbox", &self.sandbox)
            .field("limits", &self.limits)
            .field("progress", &self.callback.is_some())
            .finish()
    }
}
