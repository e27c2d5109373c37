//! Copies between a sandbox and where its connection leads.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::time::timeout;

use super::flow::Flow;
use super::rewound::ClientStream;
use crate::Upstream;

/// How much is copied at once by a direction that is quiet, and by one that has filled that. There may be a thousand connections,
/// and most are quiet.
const SMALL: usize = 2 * 1024;
const LARGE: usize = 32 * 1024;
/// How long a direction keeps the large buffer without a use for it.
const QUIET: Duration = Duration::from_secs(1);

/// Copies in both directions until both have ended, or until the flow must end.
pub(super) async fn relay(flow: &Arc<Flow>, client: ClientStream, upstream: Box<dyn Upstream>) {
    let (from_client, to_client) = tokio::io::split(client);
    let (from_upstream, to_upstream) = tokio::io::split(upstream);
    tokio::select! {
        ended = copy_both(flow, (from_client, to_client), (from_upstream, to_upstream)) => {
            if let Err(error) = ended {
                tracing::debug!(%error, "connection through the proxy was cut off");
            }
        }
        () = flow.wait_until_it_must_end() => {}
    }
}

type Halves = (ReadHalf<Box<dyn Upstream>>, WriteHalf<Box<dyn Upstream>>);

async fn copy_both(flow: &Flow, client: Halves, upstream: Halves) -> io::Result<()> {
    let sent = copy(flow, client.0, upstream.1, Flow::add_sent);
    let received = copy(flow, upstream.0, client.1, Flow::add_received);
    tokio::try_join!(sent, received)?;
    Ok(())
}

async fn copy(
    flow: &Flow,
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    count: impl Fn(&Flow, usize),
) -> io::Result<()> {
    let mut buffer = vec![0; SMALL];
    loop {
        let is_large = buffer.len() == LARGE;
        let reading = from.read(&mut buffer);
        let read = if is_large {
            match timeout(QUIET, reading).await {
                Ok(read) => read?,
                Err(_) => {
                    buffer = vec![0; SMALL];
                    continue;
                }
            }
        } else {
            reading.await?
        };
        if read == 0 {
            flow.set_half_closed();
            return to.shutdown().await;
        }
        to.write_all(&buffer[..read]).await?;
        to.flush().await?;
        count(flow, read);
        if read == buffer.len() && !is_large {
            buffer = vec![0; LARGE];
        }
    }
}
