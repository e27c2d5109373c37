//! How much one sandbox may ask of its proxy.

use std::time::Duration;

/// Limits of a [`Proxy`](crate::Proxy).
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Limits {
    /// Connections that are served at once (1,000). More wait. So they do if this process has few descriptors left: all proxies of
    /// it together use up to three quarters of them (`ulimit -n`), and one sandbox up to twice as many as are free.
    pub connections: usize,
    /// How long a connection may wait to be served, before it is closed (two minutes).
    pub wait: Duration,
    /// How long a client may take for the head of a request, for a SOCKS handshake, or for a TLS ClientHello (30 seconds). A
    /// connection that is kept open between two requests ends after this time, too.
    pub handshake: Duration,
    /// How long the answer about a name that no rule decides about may take, with those before it (one minute). Then the
    /// connection is refused, and the next one is asked about again.
    pub ask: Duration,
    /// How long a name may take to resolve (10 seconds).
    pub resolve: Duration,
    /// How long one address may take to connect (10 seconds). All addresses of a name may take twice as long.
    pub connect: Duration,
    /// How long a connection may carry nothing in either direction (one hour).
    pub idle: Duration,
    /// How long a connection that one side has ended may carry nothing (two minutes).
    pub half_closed: Duration,
    /// The longest head of a request or a response, in bytes (32 KiB).
    pub head: usize,
    /// The most header fields of a request or a response (100).
    pub header_fields: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 1000,
            wait: Duration::from_secs(120),
            handshake: Duration::from_secs(30),
            ask: Duration::from_secs(60),
            resolve: Duration::from_secs(10),
            connect: Duration::from_secs(10),
            idle: Duration::from_secs(3600),
            half_closed: Duration::from_secs(120),
            head: 32 * 1024,
            header_fields: 100,
        }
    }
}
