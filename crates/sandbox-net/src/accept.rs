//! Sets up TCP connections that a server has accepted.

use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::net::TcpStream;

/// Idle time before a peer is probed, and the interval of the probes.
const KEEPALIVE: Duration = Duration::from_secs(15);
/// The number of probes without a response after which a connection ends.
const KEEPALIVE_RETRIES: u32 = 3;

/// Makes an accepted connection send small packets at once, and end within a minute if its peer has
/// vanished. Options that cannot be set are logged.
pub fn tune_accepted(stream: &TcpStream) {
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE)
        .with_interval(KEEPALIVE)
        .with_retries(KEEPALIVE_RETRIES);
    let tuned = stream
        .set_nodelay(true)
        .and_then(|()| SockRef::from(stream).set_tcp_keepalive(&keepalive));
    if let Err(error) = tuned {
        tracing::debug!(%error, "socket options not set");
    }
}
