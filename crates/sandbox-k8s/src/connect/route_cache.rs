//! The route that [`Transport::Auto`](crate::manifest::options::Transport) has found to work, for all
//! sandboxes of a backend.

use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::Instant;

use crate::lock::lock;

/// One way to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Direct,
    PortForward,
}

/// The route that new connections try first.
#[derive(Debug, Default)]
pub(crate) struct RouteCache(Mutex<CachedRoute>);

#[derive(Debug, Default, Clone, Copy)]
enum CachedRoute {
    #[default]
    None,
    /// Pods respond at their addresses.
    Direct,
    /// Pods do not respond at their addresses, or another server does. Valid until this time.
    PortForward { until: Instant },
}

/// How long addresses of Pods are not tried again on a network without a route to them. That changes when
/// the client moves to another network.
const UNREACHABLE_TTL: Duration = Duration::from_secs(300);
/// How long addresses of Pods are not trusted after another server responded at one. If the address of a
/// deleted Pod was reused, the address works again soon. A network that overlaps the Pod addresses triggers
/// this repeatedly, at the cost of one handshake each time.
const WRONG_SERVER_TTL: Duration = Duration::from_secs(60);

impl RouteCache {
    /// The route to try first; `None` if none is known.
    pub(super) fn route(&self) -> Option<Route> {
        match *self.lock() {
            CachedRoute::Direct => Some(Route::Direct),
            CachedRoute::PortForward { until } if Instant::now() < until => {
                Some(Route::PortForward)
            }
            CachedRoute::PortForward { .. } | CachedRoute::None => None,
        }
    }

    /// Records that a Pod responded at its address. A port-forward that is preferred because of a wrong
    /// server stays preferred.
    pub(super) fn record_direct(&self) {
        if self.route().is_none() {
            *self.lock() = CachedRoute::Direct;
        }
    }

    /// Records that Pods do not respond at their addresses.
    pub(super) fn record_unreachable(&self) {
        *self.lock() = CachedRoute::PortForward {
            until: Instant::now() + UNREACHABLE_TTL,
        };
    }

    /// Forgets the route, because the network has changed.
    pub(super) fn clear(&self) {
        *self.lock() = CachedRoute::None;
    }

    /// Records that another server responded at the address of a Pod. Returns whether the next connection takes
    /// another route.
    pub(super) fn record_wrong_server(&self) -> bool {
        let was_forward = self.route() == Some(Route::PortForward);
        if !was_forward {
            *self.lock() = CachedRoute::PortForward {
                until: Instant::now() + WRONG_SERVER_TTL,
            };
        }
        !was_forward
    }

    fn lock(&self) -> MutexGuard<'_, CachedRoute> {
        lock(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_wrong_server_is_avoided_for_a_while() {
        let cache = RouteCache::default();
        assert_eq!(cache.route(), None);
        cache.record_direct();
        assert_eq!(cache.route(), Some(Route::Direct));
        assert!(
            cache.record_wrong_server(),
            "the next connection takes another route"
        );
        assert_eq!(cache.route(), Some(Route::PortForward));
        // A direct connection that succeeded meanwhile does not prove that the right server is there.
        cache.record_direct();
        assert_eq!(cache.route(), Some(Route::PortForward));
        assert!(!cache.record_wrong_server(), "there is no third route");
        tokio::time::advance(WRONG_SERVER_TTL).await;
        assert_eq!(cache.route(), None);
        cache.record_direct();
        assert_eq!(cache.route(), Some(Route::Direct));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_of_network_clears_the_route() {
        let cache = RouteCache::default();
        cache.record_unreachable();
        assert_eq!(cache.route(), Some(Route::PortForward));
        tokio::time::advance(UNREACHABLE_TTL).await;
        assert_eq!(cache.route(), None);
        cache.record_direct();
        cache.clear();
        assert_eq!(cache.route(), None);
        assert!(
            cache.record_wrong_server(),
            "a raced connection may have been direct"
        );
    }
}
