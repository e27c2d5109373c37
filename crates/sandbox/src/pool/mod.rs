//! Pools of sandboxes that wait, created and connected, until the program takes them.

pub(crate) mod builder;
pub(crate) mod creation;
pub(crate) mod demand;
pub(crate) mod filler;
pub(crate) mod keeper;
pub(crate) mod pace;
mod shared;
pub(crate) mod status;
pub(crate) mod take;
pub(crate) mod waiting;

use std::fmt;
use std::sync::Arc;

use futures_util::future::join_all;
use sandbox_core::Result;
use tokio::sync::watch;

use self::shared::Shared;
use self::status::PoolStatus;
use self::take::Take;

/// Sandboxes that wait, created and connected, so that a program gets one without the time that it
/// takes to start one. It is cheap to clone, and clones share the sandboxes.
///
/// A sandbox that was taken is an ordinary [`Sandbox`](crate::Sandbox). It never returns to the
/// pool: delete it as any other. The pool starts a new one in its place.
///
/// Waiting sandboxes are *attached*: if the program ends, even by `kill -9`, each ends by itself
/// after the attach timeout of a minute. When the last clone of the pool is dropped, they are
/// deleted in the background; [`close`](Self::close) waits until they are.
///
/// ```no_run
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// let pool = client.pool(client.sandbox().memory("512Mi")).size(8).start()?;
/// let sbx = pool.take().label("team", "ml").env("MODE", "ci").await?;
/// sbx.command("make").output().await?.check()?;
/// sbx.delete().await?;
/// pool.close().await
/// # }
/// ```
#[derive(Clone)]
pub struct Pool {
    inner: Arc<Inner>,
}

/// Ends the pool's tasks with its last handle.
struct Inner {
    shared: Arc<Shared>,
}

impl Pool {
    /// Takes a sandbox. Labels, variables, a `ttl` and initial commands can be added before
    /// `.await`; see [`Take`].
    ///
    /// The sandbox that waited longest is taken, after a look whether it still runs. If none waits,
    /// the pool does what [`PoolBuilder::on_empty`](crate::PoolBuilder::on_empty) says.
    pub fn take(&self) -> Take {
        Take::new(Arc::clone(&self.inner.shared))
    }

    /// Returns the pool's current state.
    pub fn status(&self) -> PoolStatus {
        self.inner.shared.status()
    }

    /// Returns a receiver of the pool's state, which sees every change that it is fast enough for.
    ///
    /// ```no_run
    /// # async fn example(pool: sandbox::Pool) {
    /// let mut changes = pool.changes();
    /// while changes.changed().await.is_ok() {
    ///     let status = changes.borrow_and_update().clone();
    ///     println!("{} waiting, {} being created", status.waiting, status.filling);
    /// }
    /// # }
    /// ```
    pub fn changes(&self) -> watch::Receiver<PoolStatus> {
        self.inner.shared.changes()
    }

    /// Waits until as many sandboxes wait as the pool wants. It does not end while creations fail:
    /// use a timeout, or look at [`PoolStatus::problem`] of [`changes`](Self::changes).
    ///
    /// ```no_run
    /// # async fn example(pool: sandbox::Pool) {
    /// let limit = std::time::Duration::from_secs(60);
    /// if tokio::time::timeout(limit, pool.filled()).await.is_err() {
    ///     eprintln!("still filling: {:?}", pool.status().problem);
    /// }
    /// # }
    /// ```
    pub async fn filled(&self) {
        // It fails only if the sender is dropped, which `self` owns.
        let mut changes = self.changes();
        let _filled = changes
            .wait_for(|status| status.is_closed || status.waiting >= status.target)
            .await;
    }

    /// Stops the pool, and deletes the sandboxes that wait. Returns when they are deleted. Those
    /// that are just being created are cancelled, and deleted in the background. Those that were
    /// taken are not touched.
    ///
    /// # Errors
    ///
    /// The first error of a deletion. Such a sandbox ends by itself after its attach timeout.
    pub async fn close(&self) -> Result<()> {
        let waiting = self.inner.shared.close();
        let deletions = waiting.into_iter().map(waiting::Waiting::delete);
        join_all(deletions).await.into_iter().collect()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Dropping a waiting sandbox deletes it in the background.
        drop(self.shared.close());
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool")
            .field("status", &self.status())
            .finish_non_exhaustive()
    }
}
