//! How much of what the process has little of is used at once: descriptors, for connections, and threads, for the lookup of names.
//!
//! What runs in a sandbox decides how much it asks for. So all proxies of the process together leave some of it to the rest of the
//! process, and none takes all of what they have: a sandbox may hold twice as many as are free. One alone gets two thirds of them,
//! another one two thirds of the rest. More connections and names wait.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use tokio::sync::{Mutex, Notify, OwnedSemaphorePermit, Semaphore};

/// The part of the descriptors of this process that is for egress, in quarters.
const QUARTERS: usize = 3;
/// How many times what is free a sandbox may hold.
const SHARE: usize = 2;
/// Names that all proxies resolve at once. The system's lookup takes a thread for each, also after the timeout, out of the 512 of
/// the runtime that files and connections to the backend need, too.
const MAX_LOOKUPS: usize = 128;
/// Those of one proxy.
const MAX_OWN_LOOKUPS: usize = 32;

static DESCRIPTORS: LazyLock<Arc<Supply>> = LazyLock::new(|| {
    Supply::new(|| sandbox_net::descriptor_limit().map_or(usize::MAX, |limit| limit / 4 * QUARTERS))
});
static LOOKUPS: LazyLock<Arc<Supply>> = LazyLock::new(|| Supply::new(|| MAX_LOOKUPS));

/// What several proxies share.
#[derive(Debug)]
struct Supply {
    /// How much there is now: a program may raise its limit of descriptors.
    total: fn() -> usize,
    used: AtomicUsize,
    freed: Notify,
}

/// The slots of one proxy.
#[derive(Debug)]
pub(super) struct Slots {
    own: Arc<Semaphore>,
    used: Arc<AtomicUsize>,
    supply: Arc<Supply>,
    /// Held by the one that waits for the supply.
    next: Mutex<()>,
}

/// That a connection may be carried, or a name resolved. Dropping it makes room for another one.
pub(super) struct Slot {
    _own: OwnedSemaphorePermit,
    used: Arc<AtomicUsize>,
    supply: Arc<Supply>,
}

impl Supply {
    fn new(total: fn() -> usize) -> Arc<Self> {
        Arc::new(Self {
            total,
            used: AtomicUsize::new(0),
            freed: Notify::new(),
        })
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
    pub(super) fn for_connections(most: usize) -> Self {
        Self::of(most, Arc::clone(&DESCRIPTORS))
    }

    /// Slots for the lookup of names.
    pub(super) fn for_lookups() -> Self {
        Self::of(MAX_OWN_LOOKUPS, Arc::clone(&LOOKUPS))
    }

    fn of(most: usize, supply: Arc<Supply>) -> Self {
        Self {
            own: Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS))),
            used: Arc::default(),
            supply,
            next: Mutex::default(),
        }
    }

    /// Waits for a slot, in the order of the calls.
    pub(super) async fn acquire(&self) -> Option<Slot> {
        let own = Arc::clone(&self.own).acquire_owned().await.ok()?;
        let _next = self.next.lock().await;
        loop {
            let mut freed = std::pin::pin!(self.supply.freed.notified());
            // What is freed from here on is noticed.
            freed.as_mut().enable();
            if self.supply.try_take(self.used.load(Ordering::Acquire)) {
                self.used.fetch_add(1, Ordering::AcqRel);
                return Some(Slot {
                    _own: own,
                    used: Arc::clone(&self.used),
                    supply: Arc::clone(&self.supply),
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
        self.supply.used.fetch_sub(1, Ordering::AcqRel);
        self.supply.freed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;
    use tokio::time::timeout;

    fn descriptors() -> Arc<Supply> {
        Supply::new(|| 30)
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

    /// Names of hostile sandboxes whose servers do not answer leave threads to the rest of the process, and to other sandboxes.
    #[tokio::test(start_paused = true)]
    async fn names_that_take_long_to_resolve_leave_threads_to_others() {
        let mut counts = Vec::new();
        let mut taken = Vec::new();
        for _ in 0..5 {
            let lookups = take_all(&Slots::for_lookups()).await;
            counts.push(lookups.len());
            taken.push(lookups);
        }
        assert_eq!(counts, [32, 32, 32, 22, 7]);
        assert!(counts.iter().sum::<usize>() < MAX_LOOKUPS);
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
