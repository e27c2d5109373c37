//! Which protocol an API server accepts.

use std::sync::atomic::{AtomicBool, Ordering};

/// A protocol that carries a port-forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Spdy,
    WebSocket,
}

/// The protocol to begin with, for all connections of a backend.
#[derive(Debug, Default)]
pub(in crate::connect) struct ProtocolChoice {
    needs_websocket: AtomicBool,
}

impl ProtocolChoice {
    pub(super) fn get(&self) -> Protocol {
        if self.needs_websocket.load(Ordering::Relaxed) {
            Protocol::WebSocket
        } else {
            Protocol::Spdy
        }
    }

    /// Remembers which protocol was accepted.
    pub(super) fn set(&self, protocol: Protocol) {
        self.needs_websocket
            .store(protocol == Protocol::WebSocket, Ordering::Relaxed);
    }
}
