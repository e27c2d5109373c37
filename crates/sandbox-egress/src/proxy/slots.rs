//! How many connections are carried at once.
//!
//! Each needs a descriptor of this process for its server, and what runs in a sandbox decides how many there are. So all
//! proxies of the process together leave descriptors to the rest of it, and none takes all of what they have: a sandbox may hold
//! twice as many as are free. One alone gets two thirds of them, another one two thirds of the rest. More connections wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};

/// The part of the descriptors of this process that is for egress, in quarters.
const QUARTERS: usize = 3;
/// How many times the free descriptors a sandbox may hold.
const SHARE: usize = 2;

static PROCESS: LazyLock<Arc<Descriptors>> = LazyLock::new(|| {
    Arc::new(Descriptors::new(|| {
        sandbox_net::descriptor_limit().map_or(usize::MAX, |limit| limit / 4 * QUARTERS)
    }))
});

/// Descriptors that several proxies share.
#[derive(Debug)]
struct Descriptors {
    /// How many there are now: a program may raise its limit.
    total: fn() -> usize,
    used: AtomicUsize,
    freed: Notify,
}

/// The slots of one proxy.
#[derive(Debug)]
pub(super) struct Slots {
    own: Arc<Semaphore>,
    used: Arc<AtomicUsize>,
    descriptors: Arc<Descriptors>,
    /// Held by the one connection that waits for a descriptor.
    next: Mutex<()>,
}

/// That a connection may be carried. Dropping it makes room for another one.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    used: Arc<AtomicUsize>,
    descriptors: Arc<Descriptors>,
}

impl Descriptors {
    fn new(total: fn() -> usize) -> Self {
        Self {
            total,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        }
    }

    /// Takes one for a proxy that has this many.
    fn try_take(&self, own: usize) -> bool {
        let total = (self.total)();
        let more = |used: usize| {
            let free = total.saturating_sub(used);
            (own < free.saturating_mul(SHARE)).then_some(used + 1)
        };
        let (set, fetch) = (Ordering::AcqRel, Ordering::Acquire);
        self.used.fetch_update(set, fetch, more).is_ok()
    }
}

impl Slots {
    /// Slots for at most this many connections.
    pub(super) fn new(connections: usize) -> Self {
        Self::of(connections, Arc::clone(&PROCESS))
    }

    fn of(connections: usize, descriptors: Arc<Descriptors>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(connections.min(Semaphore::MAX_PERMITS))),
            used: Arc::default(),
            descriptors,
            next: Mutex::default(),
        }
    }

    /// Waits for a slot, in the order of the calls.
    pub(super) async fn acquire(&self) -> Option<Slot> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let _next = self.next.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.descriptors.freed.notified());
            // What is freed from here on is noticed.
            freed.as_mut().enable();
            if self.descriptors.try_take(self.used.load(Ordering::Acquire)) {
                self.used.fetch_add(1, Ordering::AcqRel);
                return Some(Slot {
                    _own: own,
                    used: Arc::clone(&self.used),
                    descriptors: Arc::clone(&self.descriptors),
                });
            }
            freed.await;
        }
    }

    /// Why a connection has to wait.
    pub(super) fn shortage(&self) -> &'static str {
        if self.own.available_permits() == 0 {
            "the sandbox has too many connections open at once"
        } else {
            "the process that serves the egress has no descriptors left for it; raise its limit (ulimit -n)"
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.used.fetch_sub(1, Ordering::AcqRel);
        self.descriptors.used.fetch_sub(1, Ordering::AcqRel);
        self.descriptors.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn descriptors() -> Arc<Descriptors> {
        Arc::new(Descriptors::new(|| 30))
    }

    /// Takes slots until none comes.
    async fn take_all(slots: &Slots) -> Vec<Slot> {
        let mut taken = Vec::new();
        while let Ok(Some(slot)) = timeout(Duration::from_secs(1), slots.acquire()).await {
            taken.push(slot);
        }
        taken
    }

    #[tokio::test(start_paused = true)]
    async fn a_proxy_has_only_so_many_slots() {
        let slots = Slots::of(4, descriptors());
        let taken = take_all(&slots).await;
        assert_eq!(taken.len(), 4);
        assert!(slots.shortage().contains("too many connections"));
        drop(taken);
        assert_eq!(take_all(&slots).await.len(), 4);
    }

    #[tokio::test(start_paused = true)]
    async fn no_sandbox_takes_the_descriptors_of_the_others() {
        let descriptors = descriptors();
        let hogs: Vec<_> = (0..4)
            .map(|_| Slots::of(1000, Arc::clone(&descriptors)))
            .collect();
        let mut taken = Vec::new();
        for hog in &hogs {
            taken.push(take_all(hog).await);
        }
        let counts: Vec<_> = taken.iter().map(Vec::len).collect();
        assert_eq!(counts, [20, 7, 2, 1]);
        assert!(hogs[0].shortage().contains("descriptors"));
        // What one gives back is for all.
        taken[0].clear();
        assert_eq!(take_all(&hogs[3]).await.len(), 13);
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_is_freed() {
        let descriptors = descriptors();
        let (one, other) = (
            Slots::of(1000, Arc::clone(&descriptors)),
            Slots::of(1000, Arc::clone(&descriptors)),
        );
        let mut taken = take_all(&one).await;
        let others = take_all(&other).await;
        let (slot, ()) = tokio::join!(one.acquire(), async {
            tokio::task::yield_now().await;
            taken.truncate(2);
        });
        assert!(slot.is_some());
        drop((others, taken, slot));
        assert_eq!(descriptors.used.load(Ordering::Relaxed), 0);
    }
}
