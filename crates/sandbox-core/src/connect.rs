//! Byte streams to a sandbox's SSH server.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Deadline, Endpoint, PublicKey, Result};

/// Anything that carries bytes both ways.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> ByteStream for T {}

/// Opens a byte stream to an endpoint: TCP, a Unix socket, a port-forward through the
/// Kubernetes API, or memory.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait Connector: Debug + Send + Sync + 'static {
    /// Connects by the deadline.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection) at the stage `Dial`,
    /// [`Timeout`](crate::Error::Timeout), or [`Unsupported`](crate::Error::Unsupported) for
    /// an endpoint of another kind.
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Box<dyn ByteStream>>;

    /// Told that the stream which was opened last to this endpoint led elsewhere: something with
    /// another host key answered, or no SSH server. Returns whether the next one will go another
    /// way, so that it is worth trying; without another way, it is not.
    fn led_astray(&self, endpoint: &Endpoint) -> bool {
        // One that has only one way.
        let _only = endpoint;
        false
    }

    /// Asked after a connection failed: whether the server has had the time to begin and never
    /// answered, so that waiting longer for it is in vain.
    fn gives_up(&self, endpoint: &Endpoint) -> bool {
        // One that does not know when its servers begin.
        let _whichever = endpoint;
        false
    }
}

/// Asks an SSH server for its host key: for an image's own server, whose key nobody knows
/// before it runs.
///
/// There is no "accept any" for sessions: an [`Access`](crate::Access) always has the key to
/// pin. A backend that has to learn it does so once, over a stream that is known to lead to the
/// server, and never over a network that others may answer on.
#[cfg_attr(feature = "mock", mockall::automock)]
#[async_trait]
pub trait HostKeyProbe: Debug + Send + Sync + 'static {
    /// The key of the server at the other end, which has proved that it has the private half.
    /// The stream is closed; nobody logs in.
    ///
    /// # Errors
    ///
    /// [`Connection`](crate::Error::Connection): at the stage `Dial` for what is no SSH server
    /// yet, at `HostKey` for one that has no key of a kind that can be pinned.
    async fn host_key(&self, stream: Box<dyn ByteStream>, deadline: Deadline) -> Result<PublicKey>;
}
