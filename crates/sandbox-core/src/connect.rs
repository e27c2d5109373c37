//! Byte streams to a sandbox's SSH server.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Deadline, Endpoint, PublicKey, Result};

/// A bidirectional byte stream.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// Opens a byte stream to an endpoint: over TCP, a Unix socket, a port-forward through the Kubernetes
/// API, or in memory.
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

    /// Reports that the last stream to this endpoint led to the wrong server: one with another host key,
    /// or no SSH server. Returns whether the next stream will take another path, so that a retry makes
    /// sense.
    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        // By default there is only one path.
        let _only = endpoint;
        false
    }

    /// Called after a connection failed: returns whether the server has had enough time to start without
    /// ever answering, so that waiting longer is useless.
    fn should_stop_retrying(&self, endpoint: &Endpoint) -> bool {
        // By default it is not known when servers start.
        let _whichever = endpoint;
        false
    }
}

/// Asks an SSH server for its host key: for an image's own server, whose key nobody knows before it
/// runs.
///
/// Sessions have no "accept any": an [`Access`](crate::Access) always has the key to pin. A backend
/// that has to learn the key does so once, over a stream that is known to lead to the server, and
/// never over a network on which others may answer.
///
/// ```
/// use std::time::Duration;
/// use sandbox_core::{ByteStream, Deadline, HostKeyProbe, PublicKey, Result};
///
/// async fn learn(probe: &dyn HostKeyProbe, stream: Box<dyn ByteStream>) -> Result<PublicKey> {
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
    /// [`Connection`](crate::Error::Connection): at the stage `Dial` if no SSH server answers yet, at
    /// `HostKey` if the server has no key of a type that can be pinned.
    async fn host_key(&self, stream: Box<dyn ByteStream>, deadline: Deadline) -> Result<PublicKey>;
}
