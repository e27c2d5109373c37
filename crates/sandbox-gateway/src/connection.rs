//! The client's connection, as a request sees it.

use std::fmt;
use std::net::SocketAddr;

use tokio_util::sync::CancellationToken;

/// The client's connection that a request came on. Every request has one in its extensions.
#[derive(Clone)]
pub(crate) struct ConnectionHandle {
    peer: SocketAddr,
    is_tls: bool,
    reset: CancellationToken,
}

impl ConnectionHandle {
    pub(crate) fn new(peer: SocketAddr, is_tls: bool, reset: CancellationToken) -> Self {
        Self {
            peer,
            is_tls,
            reset,
        }
    }

    /// Cuts the connection off with a TCP reset, so that the client cannot mistake the end for a complete response.
    /// This ends all requests on it, which over HTTP/2 may be several. Returns at once.
    pub(crate) fn reset(&self) {
        self.reset.cancel();
    }

    /// The client's address, or that of the proxy before the gateway.
    pub(crate) fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether the client speaks TLS with the gateway itself.
    pub(crate) fn is_tls(&self) -> bool {
        self.is_tls
    }
}

impl fmt::Debug for ConnectionHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectionHandle")
            .field("peer", &self.peer)
            .finish_non_exhaustive()
    }
}
