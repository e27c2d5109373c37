//! Streamable HTTP, on this machine's loopback interface and with a token only.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::transport::{StreamableHttpServerConfig, StreamableHttpService};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::handler::{Handler, HttpSessions};
use super::token::BearerToken;
use super::{MAX_MESSAGE, McpServer, STOP_TIMEOUT};
use crate::app::App;
use crate::error::McpError;
use crate::sessions::{Session, SessionKind};

/// The path that clients use.
const PATH: &str = "/mcp";
/// The most connections at once.
const MAX_CONNECTIONS: usize = 256;
/// The most sessions at once.
const MAX_SESSIONS: usize = 64;
/// How long a client may take to send the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// The pause after a connection could not be accepted.
const ACCEPT_RETRY_DELAY: Duration = Duration::from_millis(50);

type Body = BoxBody<Bytes, Infallible>;
type Service = StreamableHttpService<Handler, LocalSessionManager>;

/// A server that listens on HTTP.
pub struct HttpListener {
    app: Arc<App>,
    listener: TcpListener,
    address: SocketAddr,
    token: BearerToken,
}

impl McpServer {
    /// Listens on HTTP, for clients that show this token. There is no TLS, so only addresses of the loopback interface are
    /// accepted.
    ///
    /// # Errors
    ///
    /// [`McpError::Config`] for another address, and [`McpError::Listen`] if it cannot be listened on.
    pub async fn listen_http(
        self,
        address: SocketAddr,
        token: BearerToken,
    ) -> Result<HttpListener, McpError> {
        if !address.ip().is_loopback() {
            return Err(McpError::Config {
                option: "the address",
                reason: format!(
                    "{address} can be reached from other machines, and the token would cross the network in the clear; \
                     use 127.0.0.1, and a tunnel such as `ssh -L`"
                ),
            });
        }
        let failed = |source| McpError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        Ok(HttpListener {
            app: self.app,
            listener,
            address,
            token,
        })
    }
}

impl HttpListener {
    /// Returns the address that it listens on.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Returns the address that clients are configured with.
    pub fn url(&self) -> String {
        format!("http://{}{PATH}", self.address)
    }

    /// Serves clients until `stop` is ready. Then all sessions end and their sandboxes are deleted. Returns when they are,
    /// after about 30 seconds at the latest.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let shared = match Session::begin(&self.app, SessionKind::Shared) {
            Ok(shared) => shared,
            Err(error) => {
                tracing::error!(%error, "no session");
                return;
            }
        };
        let stopping = CancellationToken::new();
        let sessions = HttpSessions {
            open: Arc::default(),
            shared,
        };
        let manager = Arc::new(self.manage_sessions());
        let front = Arc::new(Front {
            service: self.create_service(&sessions, &manager, &stopping),
            sessions: manager,
            token: self.token,
        });
        let connections = TaskTracker::new();
        let room = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        tokio::pin!(stop);
        loop {
            let permit = tokio::select! {
                // It is never closed.
                Ok(permit) = Arc::clone(&room).acquire_owned() => permit,
                () = &mut stop => break,
            };
            tokio::select! {
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        let serving = serve_connection(stream, Arc::clone(&front), permit, stopping.clone());
                        connections.spawn(serving);
                    }
                    Err(error) => {
                        tracing::warn!(%error, "connection not accepted");
                        tokio::time::sleep(ACCEPT_RETRY_DELAY).await;
                    }
                },
                () = &mut stop => break,
            }
        }
        stopping.cancel();
        connections.close();
        let _ended = tokio::time::timeout(STOP_TIMEOUT, connections.wait()).await;
        tokio::join!(sessions.open.close_all(), sessions.shared.close());
        self.app.finish().await;
    }

    fn manage_sessions(&self) -> LocalSessionManager {
        let mut sessions = LocalSessionManager::default();
        // A person may think for longer than the five minutes that are the default. Sandboxes end after this time, too.
        sessions.session_config.keep_alive = Some(self.app.config.ttl);
        sessions
    }

    fn create_service(
        &self,
        sessions: &HttpSessions,
        manager: &Arc<LocalSessionManager>,
        stopping: &CancellationToken,
    ) -> Service {
        let config = StreamableHttpServerConfig::default()
            .with_cancellation_token(stopping.clone())
            .with_max_request_body_bytes(MAX_MESSAGE)
            // Against DNS rebinding: only names of this machine, and no page of a browser.
            .with_allowed_hosts(["localhost", "127.0.0.1", "::1"])
            .enforce_origin_validation();
        let (app, sessions) = (Arc::clone(&self.app), sessions.clone());
        StreamableHttpService::new(
            move || Ok(Handler::for_http(&app, &sessions)),
            Arc::clone(manager),
            config,
        )
    }
}

/// What stands before the protocol: the token, the path, and the number of sessions.
struct Front {
    service: Service,
    sessions: Arc<LocalSessionManager>,
    token: BearerToken,
}

impl Front {
    async fn respond(&self, request: Request<Incoming>) -> Response<Body> {
        if !self.token.is_in(request.headers().get(AUTHORIZATION)) {
            let mut response = refuse(
                StatusCode::UNAUTHORIZED,
                "the token is missing or wrong; send it as `Authorization: Bearer TOKEN`",
            );
            response
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            return response;
        }
        if request.uri().path() != PATH {
            return refuse(StatusCode::NOT_FOUND, "there is nothing here; use /mcp");
        }
        let begins =
            request.method() == Method::POST && !request.headers().contains_key("mcp-session-id");
        if begins && self.sessions.sessions.read().await.len() >= MAX_SESSIONS {
            return refuse(
                StatusCode::SERVICE_UNAVAILABLE,
                "there are too many sessions; end one first",
            );
        }
        self.service.handle(request).await
    }
}

async fn serve_connection(
    stream: TcpStream,
    front: Arc<Front>,
    _permit: OwnedSemaphorePermit,
    stopping: CancellationToken,
) {
    let responding = service_fn(move |request| {
        let front = Arc::clone(&front);
        async move { Ok::<_, Infallible>(front.respond(request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), responding);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        () = stopping.cancelled() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended");
    }
}

fn refuse(status: StatusCode, reason: &'static str) -> Response<Body> {
    let mut response = Response::new(Full::new(Bytes::from_static(reason.as_bytes())).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(
        CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}
