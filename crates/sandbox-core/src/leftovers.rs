//! What dropped futures have left, such as sandboxes that are still to be deleted.

use std::sync::{Arc, OnceLock, Weak};

use tokio::sync::watch;

/// Counts what dropped futures have left, so that [`SandboxBackend::settle`](crate::SandboxBackend::settle) can wait for
/// its removal. Clones share the count.
///
/// ```
/// use sandbox_core::Leftovers;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let leftovers = Leftovers::default();
/// let leftover = leftovers.begin();
/// tokio::spawn(async move {
///     // The removal.
///     drop(leftover);
/// });
/// leftovers.wait_until_none().await;
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct Leftovers(watch::Sender<usize>);

/// Something that a dropped future has left. It is counted until this is dropped.
#[derive(Debug)]
pub struct Leftover(Leftovers);

/// Belongs to the future that waits for work in another task.
#[derive(Debug)]
pub struct WorkWaiter {
    leftovers: Leftovers,
    work: Weak<OnceLock<Leftover>>,
}

/// Belongs to work in another task, to its outcome until its caller has that, and to the removal of that outcome. Clones
/// belong to the same work.
#[derive(Debug, Clone)]
pub struct TrackedWork {
    /// Owned only to be dropped with the last clone.
    _counted: Arc<OnceLock<Leftover>>,
}

impl Leftovers {
    /// Counts one more.
    pub fn begin(&self) -> Leftover {
        self.0.send_modify(|count| *count += 1);
        Leftover(self.clone())
    }

    /// Returns the two ends of work in another task. Once the waiter is dropped, the work counts until all clones of the
    /// other end are dropped.
    pub fn track(&self) -> (WorkWaiter, TrackedWork) {
        let counted = Arc::default();
        let waiter = WorkWaiter {
            leftovers: self.clone(),
            work: Arc::downgrade(&counted),
        };
        (waiter, TrackedWork { _counted: counted })
    }

    /// Waits until nothing is left. Cancel safe.
    pub async fn wait_until_none(&self) {
        let mut count = self.0.subscribe();
        // It fails only if the sender is dropped, which `self` has.
        let _none = count.wait_for(|count| *count == 0).await;
    }
}

impl WorkWaiter {
    /// Leaves the work alone: it goes on and is no leftover.
    pub fn release(mut self) {
        self.work = Weak::new();
    }
}

impl Drop for Leftover {
    fn drop(&mut self) {
        self.0.0.send_modify(|count| *count -= 1);
    }
}

impl Drop for WorkWaiter {
    fn drop(&mut self) {
        if let Some(work) = self.work.upgrade() {
            work.get_or_init(|| self.leftovers.begin());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Leftovers;

    fn is_none(leftovers: &Leftovers) -> bool {
        *leftovers.0.borrow() == 0
    }

    #[tokio::test]
    async fn a_wait_ends_with_the_last() {
        let leftovers = Leftovers::default();
        leftovers.wait_until_none().await;
        let (first, second) = (leftovers.begin(), leftovers.begin());
        let waiting = leftovers.wait_until_none();
        let removing = async {
            drop(first);
            tokio::task::yield_now().await;
            drop(second);
        };
        tokio::join!(waiting, removing);
        assert!(is_none(&leftovers));
    }

    #[test]
    fn what_was_begun_counts_until_it_is_dropped() {
        let leftovers = Leftovers::default();
        assert!(is_none(&leftovers));
        let first = leftovers.begin();
        let second = leftovers.clone().begin();
        drop(first);
        assert!(!is_none(&leftovers));
        drop(second);
        assert!(is_none(&leftovers));
    }

    #[test]
    fn work_counts_once_its_waiter_has_left() {
        let leftovers = Leftovers::default();
        let (waiter, work) = leftovers.track();
        let removal = work.clone();
        assert!(is_none(&leftovers));
        drop(waiter);
        assert!(!is_none(&leftovers));
        drop(work);
        assert!(!is_none(&leftovers));
        drop(removal);
        assert!(is_none(&leftovers));
    }

    #[test]
    fn released_work_leaves_nothing() {
        let leftovers = Leftovers::default();
        let (waiter, _work) = leftovers.track();
        waiter.release();
        assert!(is_none(&leftovers));
    }

    #[test]
    fn finished_work_leaves_nothing() {
        let leftovers = Leftovers::default();
        let (waiter, work) = leftovers.track();
        drop(work);
        drop(waiter);
        assert!(is_none(&leftovers));
    }
}
