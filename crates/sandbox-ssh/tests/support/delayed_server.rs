//! A server with a long round trip.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// The delay in one direction.
pub(crate) const DELAY: Duration = Duration::from_millis(5);

/// Delays the bytes of another connector's streams.
#[derive(Debug)]
pub(crate) struct DelayedConnector(pub(crate) Arc<dyn Connector>);

#[async_trait]
impl Connector for DelayedConnector {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        let (server_read, server_write) =
            tokio::io::split(self.0.connect(endpoint, deadline).await?);
        let (near, far) = tokio::io::duplex(256 << 10);
        let (read, write) = tokio::io::split(far);
        tokio::spawn(delay(read, server_write));
        tokio::spawn(delay(server_read, write));
        Ok(Box::new(near))
    }
}

/// Forwards each byte after the delay.
async fn delay(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin + Send + 'static) {
    let (send, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    tokio::spawn(async move {
        while let Some((at, data)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&data).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if send
            .send((Instant::now() + DELAY, buffer[..read].to_vec()))
            .await
            .is_err()
        {
            return;
        }
    }
}
