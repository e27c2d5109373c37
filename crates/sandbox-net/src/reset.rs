//! Ends connections that were cut off.

use tokio::net::TcpStream;

/// Makes closing a connection a reset (RFC 9293 §3.6), instead of an end of file. So the peer does not
/// take what it has received for everything, and its writes fail. An option that cannot be set is
/// logged.
pub fn reset_when_closed(stream: &TcpStream) {
    if let Err(error) = stream.set_zero_linger() {
        tracing::debug!(%error, "connection is closed without a reset");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::ErrorKind;
    use tokio::io::AsyncReadExt;

    #[tokio::test]
    async fn the_peer_of_a_reset_connection_gets_an_error() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut near = TcpStream::connect(address).await.unwrap();
        let (far, _) = listener.accept().await.unwrap();
        reset_when_closed(&far);
        drop(far);
        let error = near.read(&mut [0; 1]).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}
