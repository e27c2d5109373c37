//! The server: over standard input and output, or over HTTP.

mod handler;
pub(crate) mod http;
pub(crate) mod token;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, serve_server};
use sandbox::Client;
use tokio::io::{AsyncRead, AsyncWrite};

use self::handler::Handler;
use crate::app::App;
use crate::config::McpConfig;
use crate::error::McpError;
use crate::sessions::{Session, SessionKind};

/// The largest message of a client, in bytes: a file of 4 MiB in base64, and room for escapes.
const MAX_MESSAGE: usize = 12 << 20;
/// How long answers that are under way may take when the server is stopped.
const STOP_TIMEOUT: Duration = Duration::from_secs(3);

/// A server of the Model Context Protocol.
pub struct McpServer {
    app: Arc<App>,
}

impl McpServer {
    /// Creates a server of the sandboxes of this client.
    ///
    /// # Errors
    ///
    /// [`McpError::Config`] for a value that is not valid, and [`McpError::File`] if the shared directory or the audit
    /// file cannot be opened.
    pub fn new(client: Client, config: McpConfig) -> Result<Self, McpError> {
        Ok(Self {
            app: Arc::new(App::new(client, config)?),
        })
    }

    /// Serves one client, which writes to `reader` and reads from `writer`, until it closes its end or `stop` is ready.
    /// Then its sandboxes are deleted. Returns when they are, after 30 seconds at the latest.
    pub async fn serve_stdio(
        self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
        stop: impl Future<Output = ()>,
    ) {
        let session = match Session::begin(&self.app, SessionKind::Kept) {
            Ok(session) => session,
            Err(error) => {
                tracing::error!(%error, "no session");
                return;
            }
        };
        let handler = Handler::for_session(&self.app, &session);
        let transport = AsyncRwTransport::<RoleServer, _, _>::new_server(reader, writer)
            .with_max_line_length(MAX_MESSAGE);
        let starting = serve_server(handler, transport);
        tokio::pin!(stop);
        let running = tokio::select! {
            running = starting => match running {
                Ok(running) => Some(running),
                // A client that goes without a word is no failure of this server.
                Err(error) => {
                    tracing::debug!(%error, "no session was begun");
                    None
                }
            },
            () = &mut stop => None,
        };
        if let Some(running) = running {
            let cancel = running.cancellation_token();
            let waiting = running.waiting();
            tokio::pin!(waiting);
            tokio::select! {
                _ended = &mut waiting => {}
                () = &mut stop => {
                    cancel.cancel();
                    let _ended = tokio::time::timeout(STOP_TIMEOUT, &mut waiting).await;
                }
            }
        }
        session.close().await;
        self.app.finish().await;
    }
}
