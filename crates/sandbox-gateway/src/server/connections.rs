//! Connections: accepted, served over HTTP, and drained at the end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatcher;
use super::http1::Http1;
use super::stream::{Held, ResettableStream};
use super::tls::Tls;
use crate::app::App;
use crate::config::Limits;
use crate::connection::ConnectionHandle;
use crate::telemetry::count_connection;

/// How long to wait after an accept that failed for want of resources, which each attempt would until some are freed.
pub(super) const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// How long to wait for the rest after everything was cut off.
const LAST_WAIT: Duration = Duration::from_secs(5);

/// Serves connections until `stop` is done, then drains them.
pub(super) async fn serve(
    listener: TcpListener,
    app: Arc<App>,
    tls: Option<Arc<Tls>>,
    stop: impl Future<Output = ()>,
) {
    let limits = app.config.limits.clone();
    let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&app)));
    let servers = Arc::new(HttpServers::new(&limits));
    let room = Arc::new(Semaphore::new(limits.connections));
    // Besides connections, it has what requests have left to be done.
    let tasks = app.tasks.clone();
    let draining = CancellationToken::new();
    // Cuts everything off if this future is dropped, or when the time to drain is over.
    let cut_off = CancellationToken::new();
    let _cut_off_on_drop = cut_off.clone().drop_guard();
    let mut stop = pin!(stop);
    loop {
        let accepted = tokio::select! {
            () = &mut stop => break,
            accepted = accept(&listener, &room) => accepted,
        };
        let Some((stream, peer, permit)) = accepted else {
            continue;
        };
        #[cfg(unix)]
        sandbox_net::tune_accepted(&stream);
        let connection = Connection {
            dispatcher: Arc::clone(&dispatcher),
            servers: Arc::clone(&servers),
            draining: draining.clone(),
            reset: cut_off.child_token(),
            tls: tls.clone(),
            handshake_timeout: limits.header_timeout,
        };
        // The stream holds what it takes for longer than this task if the connection is upgraded.
        let held = Held {
            _permit: permit,
            _task: tasks.token(),
            _counted: count_connection(),
        };
        let stream =
            ResettableStream::new(stream, connection.reset.clone(), limits.write_timeout, held);
        tasks.spawn(connection.serve(stream, peer));
    }
    drop(listener);
    draining.cancel();
    tasks.close();
    if tokio::time::timeout(limits.drain, tasks.wait())
        .await
        .is_err()
    {
        tracing::warn!(
            connections = tasks.len(),
            "requests cut off; they outlasted the time to drain"
        );
        cut_off.cancel();
        if tokio::time::timeout(LAST_WAIT, tasks.wait()).await.is_err() {
            tracing::warn!(tasks = tasks.len(), "deletions or creations not waited for");
        }
    }
}

/// Accepts a connection once there is room for one. `None` for one that failed.
async fn accept(
    listener: &TcpListener,
    room: &Arc<Semaphore>,
) -> Option<(TcpStream, SocketAddr, tokio::sync::OwnedSemaphorePermit)> {
    // The semaphore is never closed.
    let permit = Arc::clone(room).acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, peer)) => Some((stream, peer, permit)),
        Err(error) => {
            tracing::warn!(%error, "connection not accepted");
            tokio::time::sleep(ACCEPT_BACKOFF).await;
            None
        }
    }
}

/// How HTTP is spoken. The version is known before: by ALPN, or because there is no TLS. A server that looks at the first
/// bytes to find out would wait for them without a limit.
struct HttpServers {
    http1: Http1,
    http2: http2::Builder<TokioExecutor>,
}

impl HttpServers {
    fn new(limits: &Limits) -> Self {
        let mut http2 = http2::Builder::new(TokioExecutor::new());
        http2
            .timer(TokioTimer::new())
            .max_concurrent_streams(limits.streams_per_connection)
            .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
            .keep_alive_interval(Duration::from_secs(30))
            .keep_alive_timeout(Duration::from_secs(20));
        Self {
            http1: Http1::new(limits),
            http2,
        }
    }
}

/// One client's connection.
struct Connection {
    dispatcher: Arc<Dispatcher>,
    servers: Arc<HttpServers>,
    draining: CancellationToken,
    reset: CancellationToken,
    tls: Option<Arc<Tls>>,
    handshake_timeout: Duration,
}

impl Connection {
    async fn serve(self, stream: ResettableStream, peer: SocketAddr) {
        let Some(tls) = &self.tls else {
            // Without TLS there is no HTTP/2: no SDK asks for it.
            return self.serve_http(stream, peer, false).await;
        };
        let handshake = TlsAcceptor::from(tls.current()).accept(stream);
        let handshake = tokio::select! {
            handshake = tokio::time::timeout(self.handshake_timeout, handshake) => handshake,
            () = self.draining.cancelled() => return,
        };
        match handshake {
            Ok(Ok(stream)) => {
                let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
                self.serve_http(stream, peer, is_http2).await;
            }
            Ok(Err(error)) => tracing::debug!(%peer, %error, "TLS handshake failed"),
            Err(_elapsed) => tracing::debug!(%peer, "TLS handshake timed out"),
        }
    }

    async fn serve_http<S>(&self, stream: S, peer: SocketAddr, is_http2: bool)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let handle = ConnectionHandle::new(peer, self.tls.is_some(), self.reset.clone());
        let dispatcher = Arc::clone(&self.dispatcher);
        let answer = move |mut request: Request<Body>| {
            request.extensions_mut().insert(handle.clone());
            let dispatcher = Arc::clone(&dispatcher);
            async move { dispatcher.answer(request).await }
        };
        let ended = tokio::select! {
            ended = self.speak(stream, is_http2, answer) => ended,
            () = self.reset.cancelled() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = %error, "connection ended");
        }
    }

    /// Serves until the connection ends or is drained.
    async fn speak<S, A, F>(&self, stream: S, is_http2: bool, answer: A) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Body>) -> F,
        F: Future<Output = Response> + Send + 'static,
    {
        let servers = &self.servers;
        if !is_http2 {
            return servers.http1.serve(stream, answer, &self.draining).await;
        }
        let service = service_fn(|request: Request<Incoming>| {
            let answered = answer(request.map(Body::new));
            async move { Ok::<_, Infallible>(answered.await) }
        });
        let connection = servers
            .http2
            .serve_connection(TokioIo::new(stream), service);
        let mut serving = pin!(connection);
        tokio::select! {
            ended = &mut serving => return ended,
            () = self.draining.cancelled() => serving.as_mut().graceful_shutdown(),
        }
        serving.await
    }
}
