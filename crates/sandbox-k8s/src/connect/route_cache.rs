//! What [`Transport::Auto`](crate::manifest::options::Transport) has found out, for all sandboxes of a
//! backend.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// How a stream gets there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    PortForward,
}

/// The way that is known to work, until something else is learned.
#[derive(Debug, Default)]
pub(crate) struct RouteCache(Mutex<CachedRoute>);

#[derive(Debug, Default, Clone, Copy)]
enum CachedRoute {
    #[default]
    None,
    /// Pods answer at their addresses.
    Direct,
    /// They do not, or somebody else does; to be looked at again then.
    PortForward { until: Instant },
}

/// How long a network without a way to Pods is not tried again: it changes when somebody
/// connects to another.
const NO_WAY: Duration = Duration::from_secs(300);
/// How long addresses are not trusted at which another server answered. The address of a Pod
/// that has gone is another's soon, and then this passes; a network that has the same
/// addresses as the Pods keeps doing it, and costs one handshake each time.
const WRONG_SERVER: Duration = Duration::from_secs(60);

impl RouteCache {
    pub(super) fn way(&self) -> Option<Route> {
        match *self.lock() {
            CachedRoute::Direct => Some(Route::Direct),
            CachedRoute::PortForward { until } if Instant::now() < until => {
                Some(Route::PortForward)
            }
            CachedRoute::PortForward { .. } | CachedRoute::None => None,
        }
    }

    /// A Pod answered at its address. What was learned of addresses that mislead stays.
    pub(super) fn direct(&self) {
        if self.way().is_none() {
            *self.lock() = CachedRoute::Direct;
        }
    }

    /// No Pod answers at its address.
    pub(super) fn no_way(&self) {
        *self.lock() = CachedRoute::PortForward {
            until: Instant::now() + NO_WAY,
        };
    }

    /// The network is another one now.
    pub(super) fn changed(&self) {
        *self.lock() = CachedRoute::None;
    }

    /// Something else answered. Returns whether the next connection goes another way.
    pub(super) fn misled(&self) -> bool {
        let was_forward = self.way() == Some(Route::PortForward);
        if !was_forward {
            *self.lock() = CachedRoute::PortForward {
                until: Instant::now() + WRONG_SERVER,
            };
        }
        !was_forward
    }

    fn lock(&self) -> MutexGuard<'_, CachedRoute> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_address_that_misleads_is_left_alone_for_a_while() {
        let found = RouteCache::default();
        assert_eq!(found.way(), None);
        found.direct();
        assert_eq!(found.way(), Some(Route::Direct));
        assert!(found.misled(), "the next goes another way");
        assert_eq!(found.way(), Some(Route::PortForward));
        // Whoever found out meanwhile that something accepts there knows less.
        found.direct();
        assert_eq!(found.way(), Some(Route::PortForward));
        assert!(!found.misled(), "there is no third way");
        tokio::time::advance(WRONG_SERVER).await;
        assert_eq!(found.way(), None);
        found.direct();
        assert_eq!(found.way(), Some(Route::Direct));
    }

    #[tokio::test(start_paused = true)]
    async fn a_network_may_change() {
        let found = RouteCache::default();
        found.no_way();
        assert_eq!(found.way(), Some(Route::PortForward));
        tokio::time::advance(NO_WAY).await;
        assert_eq!(found.way(), None);
        found.direct();
        found.changed();
        assert_eq!(found.way(), None);
        assert!(
            found.misled(),
            "one that was raced for may have been direct"
        );
    }
}
