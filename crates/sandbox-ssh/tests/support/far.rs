//! A server that is far away.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, Result};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// One way; twice that for an answer.
const DELAY: Duration = Duration::from_millis(5);

/// What another connector opens, with a long way between.
#[derive(Debug)]
pub(crate) struct Far(pub(crate) Arc<dyn Connector>);

#[async_trait]
impl Connector for Far {
    async fn connect(
        &self,
        endpoint: &Endpoint,
        deadline: Deadline,
    ) -> Result<Box<dyn ByteStream>> {
        let (server_read, server_write) =
            tokio::io::split(self.0.connect(endpoint, deadline).await?);
        let (near, far) = tokio::io::duplex(256 << 10);
        let (read, write) = tokio::io::split(far);
        tokio::spawn(late(read, server_write));
        tokio::spawn(late(server_read, write));
        Ok(Box::new(near))
    }
}

/// Lets each byte go when it is due.
async fn late(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin + Send + 'static) {
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
