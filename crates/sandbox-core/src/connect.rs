//! Byte streams to a sandbox's SSH server.

use std::fmt::Debug;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Deadline, Endpoint, Result};

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
}
