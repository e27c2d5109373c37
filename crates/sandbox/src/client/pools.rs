//! Pools that several processes share.

use sandbox_core::{PoolName, Result};

use super::Client;
use crate::create::builder::SandboxBuilder;
use crate::shared_pool::admin;
use crate::shared_pool::builder::SharedPoolBuilder;
use crate::shared_pool::status::PoolSummary;

impl Client {
    /// Returns a builder for the filler of a pool that processes share. Any client of the same cluster and
    /// namespace claims from it with [`SandboxBuilder::from_pool`].
    ///
    /// ```no_run
    /// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
    /// let filler = client.shared_pool("ci", client.sandbox()).size(8).start().await?;
    /// # Ok(())
    /// # }
    /// ```
    pub fn shared_pool(
        &self,
        name: impl Into<String>,
        sandboxes: SandboxBuilder,
    ) -> SharedPoolBuilder {
        SharedPoolBuilder::new(name.into(), sandboxes)
    }

    /// Lists the pools that processes share, by name. A pool whose sandboxes were changed is listed twice,
    /// with each key, while the former ones are being deleted or are still used.
    ///
    /// # Errors
    ///
    /// [`Error::Unsupported`](crate::Error::Unsupported) if the backend has none, and
    /// [`Error::Backend`](crate::Error::Backend) if they cannot be listed.
    pub async fn list_pools(&self) -> Result<Vec<PoolSummary>> {
        admin::list(&self.parts).await
    }

    /// Deletes what waits in a shared pool, and returns how many sandboxes these were. A filler that runs
    /// creates new ones. What was claimed is not touched.
    ///
    /// # Errors
    ///
    /// As [`list_pools`](Self::list_pools), and the first error of a deletion.
    pub async fn drain_pool(&self, name: &PoolName) -> Result<usize> {
        admin::drain(&self.parts, name, false).await
    }

    /// Removes a shared pool: deletes what waits in it or was being created for it, and the record of its
    /// filler. Stop the fillers before, or one of them begins anew. Returns how many sandboxes were deleted;
    /// `None` if there is no such pool. What was claimed is not touched.
    ///
    /// # Errors
    ///
    /// As [`drain_pool`](Self::drain_pool).
    pub async fn remove_pool(&self, name: &PoolName) -> Result<Option<usize>> {
        admin::remove(&self.parts, name).await
    }
}
