//! Connections by TCP.

use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, Result};
use tokio::net::TcpStream;

/// Opens TCP connections to [`Endpoint::Tcp`], without Nagle's delay. On Linux, what was sent
/// and is not acknowledged for 30 seconds ends the connection, so that a vanished peer is
/// noticed even while data is on its way.
#[derive(Debug, Clone, Copy, Default)]
pub struct TcpConnector;

#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

#[async_trait]
impl Connector for TcpConnector {
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Box<dyn ByteStream>> {
        let Endpoint::Tcp(address) = endpoint else {
            return Err(Error::unsupported(
                "connecting to anything but a TCP address",
                "the TCP connector",
                "use the connector of the backend that made the sandbox",
            ));
        };
        let stream = deadline
            .bound("connect by TCP", async {
                TcpStream::connect(address).await.map_err(|source| {
                    Error::connection(
                        ConnectionStage::Dial,
                        format!("no TCP connection to {address}"),
                        Some(source.into()),
                    )
                })
            })
            .await?;
        if let Err(error) = tune(&stream) {
            tracing::debug!(%error, "a TCP option could not be set");
        }
        Ok(Box::new(stream))
    }
}

fn tune(stream: &TcpStream) -> std::io::Result<()> {
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
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        tune(&stream).unwrap();
        let socket = socket2::SockRef::from(&stream);
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(USER_TIMEOUT));
        assert!(stream.nodelay().unwrap());
    }
}
