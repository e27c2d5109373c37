//! TCP connections to sandboxes, with the socket options that every one of them has: to an address
//! that somebody names, as `sandbox-ssh` opens them, and to a Pod's, as `sandbox-k8s` does.

use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::net::TcpStream;

/// How long what was sent may stay without acknowledgement (TCP_USER_TIMEOUT, tcp(7); RFC 5482). It
/// bounds the loss of a peer while data is on its way to it, when no keepalive is sent.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects without Nagle's delay, for commands are small packets and each would wait 40 ms for the
/// last. On Linux, what was sent and is not acknowledged for 30 seconds ends the connection, so that
/// a vanished peer is noticed even while data is on its way. Dropping the future closes the socket.
///
/// # Errors
///
/// When the address cannot be connected to. An option that cannot be set is no error.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "a TCP option could not be set");
    }
    Ok(stream)
}

fn tune(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    #[cfg(target_os = "linux")]
    socket2::SockRef::from(stream).set_tcp_user_timeout(Some(USER_TIMEOUT))?;
    Ok(())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_vanished_peer_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(stream.nodelay().unwrap());
    }
}
