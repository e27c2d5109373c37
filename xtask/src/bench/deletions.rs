//! Deletes used sandboxes while the next are measured.

#[cfg(feature = "bench-k8s")]
use std::time::Duration;

use anyhow::{Context, Result};
use sandbox::Sandbox;
use tokio::task::JoinSet;

/// Deletions that have begun. An old kubelet keeps the object of a Pod for up to a minute after its processes have ended.
#[derive(Default)]
pub(super) struct Deletions(JoinSet<sandbox::Result<()>>);

impl Deletions {
    /// Starts to delete sandboxes.
    pub(super) fn start(&mut self, used: impl IntoIterator<Item = Sandbox>) {
        for sbx in used {
            self.0.spawn(async move { sbx.delete().await });
        }
    }

    /// Waits until all are gone, or until this time has passed.
    #[cfg(feature = "bench-k8s")]
    pub(super) async fn settle(&mut self, patience: Duration) -> Result<()> {
        match tokio::time::timeout(patience, self.wait()).await {
            Ok(deleted) => deleted,
            Err(_elapsed) => Ok(()),
        }
    }

    /// Waits until all are gone.
    pub(super) async fn finish(mut self) -> Result<()> {
        self.wait().await
    }

    async fn wait(&mut self) -> Result<()> {
        while let Some(deleted) = self.0.join_next().await {
            deleted?.context("cannot delete a sandbox")?;
        }
        Ok(())
    }
}
