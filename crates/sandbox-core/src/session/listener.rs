//! A port inside a sandbox whose connections this side serves.

use std::fmt;
use std::io;

use async_trait::async_trait;

use crate::ByteStream;

/// Accepts the connections to a port inside. See [`PortListener`].
#[async_trait]
pub trait Accept: Send + 'static {
    /// Waits for the next connection; `None` once the connection to the sandbox has ended.
    ///
    /// Cancelling loses no connection.
    ///
    /// # Errors
    ///
    /// If one connection could not be accepted. Others may still be.
    async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>>;
}

/// A port on the loopback interface inside a sandbox, whose connections are served here (SSH `tcpip-forward`, RFC 4254 §7.1).
/// Returned by [`Session::listen`](crate::Session::listen). Dropping it stops listening.
pub struct PortListener {
    port: u16,
    accept: Box<dyn Accept>,
}

impl PortListener {
    /// Creates a listener on this port.
    pub fn new(port: u16, accept: impl Accept) -> Self {
        Self {
            port,
            accept: Box::new(accept),
        }
    }

    /// Returns the port inside.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Waits for the next connection; `None` once the connection to the sandbox has ended: nothing listens then. Cancelling
    /// loses no connection.
    ///
    /// # Errors
    ///
    /// If one connection could not be accepted. Others may still be.
    pub async fn accept(&mut self) -> io::Result<Option<Box<dyn ByteStream>>> {
        self.accept.accept().await
    }
}

impl fmt::Debug for PortListener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PortListener")
            .field("port", &self.port)
            .finish_non_exhaustive()
    }
}
