//! Connects to ports inside a sandbox.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{ByteStream, ConnectionStage, Error, MessageFilter, Result};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::Sandbox;
use super::ended_on_drop::EndedOnDrop;

impl Sandbox {
    /// Opens a stream to a TCP port on the sandbox's loopback interface. As with a
    /// [`TcpStream`], dropping it ends the connection in order.
    ///
    /// ```no_run
    /// # use tokio::io::AsyncWriteExt;
    /// # async fn example(sbx: sandbox::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut stream = sbx.open_port(6379).await?;
    /// stream.write_all(b"PING\r\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) if nothing listens there.
    pub async fn open_port(&self, port: u16) -> Result<Box<dyn ByteStream>> {
        let stream = self.session().open_stream("localhost", port).await?;
        Ok(Box::new(EndedOnDrop::new(stream)))
    }

    /// Opens a stream to a Unix socket inside the sandbox. A relative path starts at the sandbox's home
    /// directory. Dropping the stream ends it in order.
    ///
    /// ```no_run
    /// # use tokio::io::AsyncWriteExt;
    /// # async fn example(sbx: sandbox::Sandbox) -> Result<(), Box<dyn std::error::Error>> {
    /// let mut stream = sbx.open_unix_socket("/run/postgresql/.s.PGSQL.5432").await?;
    /// stream.write_all(b"...").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Connection`](crate::Error::Connection) if nothing listens there, and
    /// [`Error::Unsupported`](crate::Error::Unsupported) from a session that cannot do this.
    pub async fn open_unix_socket(&self, path: &str) -> Result<Box<dyn ByteStream>> {
        let stream = self.session().open_unix_stream(path).await?;
        Ok(Box::new(EndedOnDrop::new(stream)))
    }

    /// Listens on a free port of this machine's loopback interface, and forwards connections to
    /// `port` inside the sandbox, until the [`Forward`] is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Backend`](crate::Error::Backend) if no local port can be opened. Whether a server
    /// listens inside is checked by each connection, not here.
    pub async fn forward(&self, port: u16) -> Result<Forward> {
        self.forward_from(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), port)
            .await
    }

    /// Like [`forward`](Self::forward), but listens on this local address. An address other than
    /// loopback lets the network in.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let local = std::net::SocketAddr::from(([127, 0, 0, 1], 8080));
    /// let web = sbx.forward_from(local, 8000).await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`forward`](Self::forward).
    pub async fn forward_from(&self, local: SocketAddr, port: u16) -> Result<Forward> {
        let failed = |source: std::io::Error| Error::Backend {
            backend: "system",
            operation: "listen on a local port",
            message: format!("{local}: {source}"),
            transient: false,
            source: None,
        };
        let listener = TcpListener::bind(local).await.map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let task = tokio::spawn(accept(self.clone(), listener, port)).abort_handle();
        Ok(Forward { local_addr, task })
    }
}

/// The delay after a connection that could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A local port that is forwarded into a sandbox. Dropping it closes the port and its connections.
/// Created by [`Sandbox::forward`].
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let web = sbx.forward(8000).await?;
/// println!("http://{}", web.local_addr());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "dropping it closes the port"]
pub struct Forward {
    local_addr: SocketAddr,
    task: AbortHandle,
}

impl Forward {
    /// Returns the local address on which it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }
}

impl Drop for Forward {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Accepts local connections, and connects each to the port inside the sandbox.
async fn accept(sandbox: Sandbox, listener: TcpListener, port: u16) {
    let warnings = Arc::new(MessageFilter::default());
    // Aborting this task drops the set, and with it every connection.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let local = match listener.accept().await {
            Ok((local, _)) => local,
            Err(error) => {
                // There are no file descriptors left, or the peer has already closed the
                // connection.
                if warnings.admit(&error.to_string()) {
                    tracing::warn!(port, %error, "connection to a forwarded port not accepted");
                }
                tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                continue;
            }
        };
        let (sandbox, warnings) = (sandbox.clone(), Arc::clone(&warnings));
        connections.spawn(async move {
            match forward_connection(&sandbox, local, port).await {
                Ok(true) => warnings.reset(),
                Ok(false) => {
                    let message = "forwarded connection closed without data; is anything listening on this port in the sandbox?";
                    if warnings.admit(message) {
                        tracing::warn!(port, "{message}");
                    }
                }
                Err(error) => {
                    if warnings.admit(&error.to_string()) {
                        tracing::warn!(port, %error, "forwarded connection failed");
                    }
                }
            }
        });
    }
}

/// Copies between a local connection and the port inside the sandbox until both directions have
/// ended. A connection that is cut off on one side is reset on the other. Returns whether any data
/// came from inside.
async fn forward_connection(sandbox: &Sandbox, mut local: TcpStream, port: u16) -> Result<bool> {
    let mut remote = sandbox.session().open_stream("localhost", port).await?;
    if let Err(error) = local.set_nodelay(true) {
        tracing::debug!(%error, "socket options not set");
    }
    match tokio::io::copy_bidirectional(&mut local, &mut remote).await {
        Ok((_, received)) => Ok(received > 0),
        Err(error) => {
            sandbox_net::reset_when_closed(&local);
            // Resets are normal, as without forwarding: either program may stop before the other. Only
            // an error of the connection to the sandbox has a text of its own.
            if error.get_ref().is_some() {
                let lost = ConnectionStage::Channel;
                return Err(Error::connection(lost, error.to_string(), None));
            }
            tracing::debug!(port, %error, "forwarded connection reset");
            Ok(true)
        }
    }
}
