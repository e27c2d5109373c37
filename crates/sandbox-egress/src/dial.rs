//! Connections to addresses that were checked.

use std::fmt::Debug;
use std::io;
use std::net::SocketAddr;

use async_trait::async_trait;
use tokio::io::{AsyncRead, AsyncWrite};

/// A connection that a [`Dial`] opened.
pub trait Upstream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin + 'static> Upstream for S {}

/// Connects to addresses. The proxy has already checked them, and asks for no other.
#[async_trait]
pub trait Dial: Debug + Send + Sync + 'static {
    /// Connects. Dropping the future ends the attempt.
    ///
    /// # Errors
    ///
    /// If the connection fails.
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Upstream>>;
}

/// Connects from this machine, over TCP.
#[derive(Debug, Clone, Copy, Default)]
pub struct DirectDialer;

#[async_trait]
impl Dial for DirectDialer {
    async fn dial(&self, address: SocketAddr) -> io::Result<Box<dyn Upstream>> {
        Ok(Box::new(sandbox_net::connect(address).await?))
    }
}
