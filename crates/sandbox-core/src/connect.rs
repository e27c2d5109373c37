//! Byte streams to a sandbox's SSH server.

use std::fmt::Debug;
use std::io;
use std::task::{Context, Poll};

use async_trait::async_trait;
use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Deadline, Endpoint, PublicKey, Result};

/// A bidirectional byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// A bidirectional byte stream that hands out what it has received in the parts in which it has arrived, without a copy.
pub trait PartStream: AsyncWrite + Send + Unpin + 'static {
    /// Polls for the next part, which is not empty; `None` at the end.
    ///
    /// # Errors
    ///
    /// As those of [`AsyncRead::poll_read`].
    fn poll_part(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>>;
}

/// Opens a byte stream to an endpoint: over TCP, a Unix socket, a port-forward through the
/// Kubernetes API, or in memory.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::{ByteStream, Connector, Deadline, Endpoint, Result};
///
/// async fn dial(connector: &dyn Connector, endpoint: &Endpoint) -> Result<Box<dyn ByteStream>> {
///     connector.connect(endpoint, Deadline::from_now(Duration::from_secs(5))).await
/// }
/// ```
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Connector: Debug + Send + Sync + 'static {
    /// Connects before the deadline.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) at the stage `Dial`,
    /// [`Timeout`](crate::Error::Timeout), or [`Unsupported`](crate::Error::Unsupported) for
    /// an endpoint of another kind.
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline)
    -> Result<Box<dyn ByteStream>>;

    /// Reports that the last stream to this endpoint led to the wrong server: one with another host
    /// key, or no SSH server. Returns whether the next stream will take another path, so that a
    /// retry may succeed.
    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        // By default there is only one path.
        let _unused = endpoint;
        false
    }

    /// Returns whether a caller whose connection failed should stop retrying, because the server
    /// has had enough time to start and has never responded.
    fn should_stop_retrying(&self, endpoint: &Endpoint) -> bool {
        // By default the time that a server needs to start is unknown.
        let _unused = endpoint;
        false
    }
}

/// Reads the host key of an SSH server. Backends need it for an image's own server, which generates
/// its key when it starts.
///
/// A session never accepts an unknown key: an [`Access`](crate::Access) always has the key to pin.
/// So a backend that does not have the key reads it once, and only over a stream that leads to the
/// right server for certain, never over a network on which others may respond.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::{ByteStream, Deadline, HostKeyProbe, PublicKey, Result};
///
/// async fn read_key(probe: &dyn HostKeyProbe, stream: Box<dyn ByteStream>) -> Result<PublicKey> {
///     probe.host_key(stream, Deadline::from_now(Duration::from_secs(5))).await
/// }
/// ```
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait HostKeyProbe: Debug + Send + Sync + 'static {
    /// Returns the key of the server at the other end, after the server has proved that it has the
    /// private key. The stream is then closed, without logging in.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection): at the stage `Dial` if no SSH server responds yet,
    /// at `HostKey` if the server has no key of a type that can be pinned.
    async fn host_key(&self, stream: Box<dyn ByteStream>, deadline: Deadline) -> Result<PublicKey>;
}
