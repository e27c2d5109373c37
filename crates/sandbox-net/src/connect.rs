//! Connects to a sandbox over TCP.

use std::io;
use std::net::SocketAddr;
#[cfg(target_os = "linux")]
use std::time::Duration;

use tokio::net::TcpStream;

/// How long sent data may stay unacknowledged (TCP_USER_TIMEOUT, tcp(7); RFC 5482). The kernel
/// sends no keepalive while data is unacknowledged, so this bounds how long a lost peer goes
/// unnoticed.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Connects without Nagle's delay, because commands are small packets and each would wait up to 40
/// ms for the acknowledgement of the previous one. On Linux, data that is not acknowledged for 30
/// seconds ends the connection, so that a lost peer is noticed while data is being sent. Dropping
/// the future closes the socket.
///
/// # Errors
///
/// If the connection fails. An option that cannot be set is logged, and is not an error.
pub async fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect(address).await?;
    if let Err(error) = tune(&stream) {
        tracing::debug!(%error, "socket options not set");
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
    async fn a_connection_has_a_user_timeout_and_no_delay() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = connect(listener.local_addr().unwrap()).await.unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(stream.nodelay().unwrap());
    }
}
