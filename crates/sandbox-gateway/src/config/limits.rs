//! What requests and connections may take.

use std::time::Duration;

/// What requests and connections may take.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Limits {
    /// The greatest number of connections at once. More wait to be accepted.
    pub connections: usize,
    /// The longest head of a request in bytes, over HTTP/1.1 and HTTP/2.
    pub header_bytes: usize,
    /// The longest body of a request to the REST API in bytes. Uploads of files have no limit here: what fits is decided
    /// by the sandbox.
    pub body_bytes: usize,
    /// How long a client may take to send the head of a request, from its first byte on, or to do the handshake of TLS. The
    /// first head counts from when the client has connected.
    pub header_timeout: Duration,
    /// How long a connection of HTTP/1.1 is kept for the next request. It should be longer than what clients and proxies keep
    /// theirs for: one that is used in the moment when it is closed fails.
    pub idle_timeout: Duration,
    /// How long a client may take to send the body of a request to the REST API.
    pub body_timeout: Duration,
    /// How long a client may take nothing of a response that waits for it, before its connection is cut off.
    pub write_timeout: Duration,
    /// The greatest number of requests at once on one connection of HTTP/2.
    pub streams_per_connection: u32,
    /// How long requests may last after the gateway was asked to stop.
    pub drain: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 10_000,
            header_bytes: 64 * 1024,
            body_bytes: 1024 * 1024,
            header_timeout: Duration::from_secs(10),
            // Most keep them for at most 90 seconds.
            idle_timeout: Duration::from_secs(120),
            body_timeout: Duration::from_secs(30),
            write_timeout: Duration::from_secs(60),
            streams_per_connection: 1_000,
            drain: Duration::from_secs(30),
        }
    }
}

/// What the holder of a key may take. Lines of the file of keys may differ from these defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct KeyLimits {
    /// The greatest number of sandboxes at once, paused ones included.
    pub sandboxes: usize,
    /// The greatest number of requests to the REST API in a second, at each replica; twice as many may come at once.
    pub requests_per_second: u32,
}

impl Default for KeyLimits {
    fn default() -> Self {
        Self {
            sandboxes: 100,
            requests_per_second: 100,
        }
    }
}
