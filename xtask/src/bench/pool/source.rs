//! Where the sandboxes of the benchmark come from.

use anyhow::{Context, Result, bail};
use sandbox::{Client, OnEmpty, Pool, PoolStatus, Sandbox, SandboxBuilder};

/// A pool, and what it is filled with.
pub(super) struct Source {
    pool: Pool,
    sandboxes: SandboxBuilder,
    labelled: bool,
}

impl Source {
    /// Starts a pool of this process. `labelled`: whether each take writes a label, which is one request
    /// to the API server.
    pub(super) fn start(
        client: &Client,
        sandboxes: &SandboxBuilder,
        size: usize,
        labelled: bool,
    ) -> Result<Self> {
        let pool = client
            .pool(sandboxes.clone())
            .size(size)
            .on_empty(OnEmpty::Create)
            .start()?;
        Ok(Self {
            pool,
            sandboxes: sandboxes.clone(),
            labelled,
        })
    }

    pub(super) fn name(&self) -> &'static str {
        if self.labelled {
            "a pool of this process, with a label"
        } else {
            "a pool of this process"
        }
    }

    /// Waits until the pool is full.
    ///
    /// # Errors
    ///
    /// The pool's problem, once creations have failed three times.
    pub(super) async fn wait_until_full(&self) -> Result<()> {
        let mut changes = self.pool.changes();
        let status = changes
            .wait_for(|status| status.waiting >= status.target || has_failed(status))
            .await?;
        match &status.problem {
            Some(problem) if has_failed(&status) => {
                bail!("the pool cannot be filled: {}", problem.message)
            }
            _ => Ok(()),
        }
    }

    pub(super) async fn take(&self) -> Result<Sandbox> {
        let mut take = self.pool.take();
        if self.labelled {
            take = take.label("job", "42");
        }
        take.await.context("cannot take a sandbox")
    }

    /// Creates the same sandbox without the pool.
    pub(super) async fn create(&self) -> Result<Sandbox> {
        let created = self.sandboxes.clone().create().await;
        created.context("cannot create a sandbox")
    }

    /// The share of the takes that found a sandbox waiting.
    pub(super) fn hit_rate(&self) -> Option<f64> {
        self.pool.status().hit_rate()
    }

    pub(super) async fn close(&self) -> Result<()> {
        self.pool.close().await.context("cannot close the pool")
    }
}

fn has_failed(status: &PoolStatus) -> bool {
    status
        .problem
        .as_ref()
        .is_some_and(|problem| problem.failures > 2)
}
