//! The SSH server: accepting connections, serving them, and ending the sandbox.

mod channels;
mod claim;
mod connection;
mod forwarded_channels;
mod handler;
mod keys;
mod logins;
mod owner;
mod parameters;
mod request;
mod reverse;
mod ssh_config;
mod state;
mod transport;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::MessageFilter;
use sandbox_core::protocol::EndReason;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};

use crate::config::ServerConfig;
use crate::error::ServerError;
use crate::lifetime::Activity;
use state::ServerState;

/// Delay after a failed accept.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// The SSH server of one sandbox.
///
/// A clone is the same server: the same jobs, limits and processes.
#[derive(Clone)]
pub struct Server {
    state: Arc<ServerState>,
}

/// A snapshot of what a server is serving.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// Connections that have authenticated.
    pub clients: usize,
    /// Channels on which something runs, or may be started.
    pub channels: usize,
    /// Jobs that have not ended.
    pub jobs: usize,
    /// Processes that were started for a channel or as a job and have not ended, without the
    /// processes that these started.
    pub processes: usize,
}

impl Server {
    /// Checks the configuration and creates the home directory. Lifetimes start here.
    ///
    /// # Errors
    ///
    /// [`ServerError`] names the part of the configuration that cannot be used.
    pub fn new(config: ServerConfig) -> Result<Self, ServerError> {
        let state = ServerState::new(config)?;
        Ok(Self { state })
    }

    /// Serves connections of a TCP socket until a limit of the sandbox is reached or `shutdown`
    /// is ready. Then it ends every process of the sandbox with SIGTERM, and after the grace with
    /// SIGKILL. The server cannot be used afterwards.
    ///
    /// Dropping the future closes all connections, which ends their commands. Jobs continue.
    pub async fn serve_tcp(
        &self,
        listener: TcpListener,
        shutdown: impl Future<Output = ()>,
    ) -> EndReason {
        let accept = || async {
            let (stream, _) = listener.accept().await?;
            sandbox_net::tune_accepted(&stream);
            Ok(stream)
        };
        self.serve(accept, shutdown).await
    }

    /// As [`serve_tcp`](Self::serve_tcp), on a Unix socket.
    pub async fn serve_unix(
        &self,
        listener: UnixListener,
        shutdown: impl Future<Output = ()>,
    ) -> EndReason {
        self.serve(|| async { Ok(listener.accept().await?.0) }, shutdown)
            .await
    }

    /// Serves one connection until it ends. Its commands end with it; jobs continue until
    /// [`terminate`](Self::terminate). This method does not enforce the limits of the sandbox:
    /// race it against [`wait_for_end`](Self::wait_for_end).
    ///
    /// Dropping the future closes the connection.
    pub async fn serve_stream<S>(&self, stream: S)
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        connection::serve(Arc::clone(&self.state), stream).await;
    }

    /// Returns how much the server is serving now.
    pub fn status(&self) -> ServerStatus {
        let lifetime = &self.state.lifetime;
        ServerStatus {
            clients: lifetime.count(Activity::Client),
            channels: lifetime.count(Activity::Channel) + lifetime.count(Activity::ReadyChannel),
            jobs: lifetime.count(Activity::Job),
            processes: self.state.processes.count(),
        }
    }

    /// Waits until a limit of the sandbox is reached. Pauses it at the end of its `ttl`, if it is configured so.
    pub async fn wait_for_end(&self) -> EndReason {
        self.state.wait_for_end().await
    }

    /// Closes all connections and ends every process of the sandbox.
    pub async fn terminate(&self) {
        self.state.stop.cancel();
        let config = &self.state.config;
        // What is paused can clean up only when it continues.
        self.state.pauser.release(config.kill_grace).await;
        self.state
            .processes
            .terminate(config.kill_grace, config.reap_orphans)
            .await;
    }

    async fn serve<S, A>(
        &self,
        accept: impl Fn() -> A,
        shutdown: impl Future<Output = ()>,
    ) -> EndReason
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        A: Future<Output = io::Result<S>>,
    {
        let _stop_when_dropped = self.state.stop.clone().drop_guard();
        // Each connection has a task of its own.
        let accepting = async {
            let warnings = MessageFilter::default();
            loop {
                match accept().await {
                    Ok(stream) => {
                        warnings.reset();
                        tokio::spawn(connection::serve(Arc::clone(&self.state), stream));
                    }
                    Err(error) => {
                        // Usually the descriptors are used up until a connection ends.
                        if warnings.admit(&error.to_string()) {
                            tracing::warn!(%error, "accept failed; retrying");
                        }
                        tokio::time::sleep(ACCEPT_BACKOFF).await;
                    }
                }
            }
        };
        let reaping = async {
            if self.state.config.reap_orphans
                && let Err(error) = self.state.processes.reap_orphans().await
            {
                tracing::warn!(%error, "cannot watch for ended orphans; they stay zombies");
            }
            std::future::pending().await
        };
        let reason = tokio::select! {
            reason = self.state.wait_for_end() => reason,
            () = shutdown => EndReason::Terminated,
            () = self.state.stop.cancelled() => EndReason::Terminated,
            () = accepting => EndReason::Terminated,
            () = reaping => EndReason::Terminated,
        };
        tracing::info!(?reason, "ending the sandbox");
        self.terminate().await;
        reason
    }
}
