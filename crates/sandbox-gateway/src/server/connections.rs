//! Connections: accepted, served over HTTP, and drained at the end.

use std::convert::Infallible;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::dispatch::Dispatcher;
use super::stream::ResettableStream;
use crate::app::App;
use crate::config::Limits;
use crate::connection::ConnectionHandle;

/// How long to wait after an accept that failed for want of resources, which each attempt would until some are freed.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(200);

/// Serves connections until `stop` is done, then drains them.
pub(super) async fn serve(listener: TcpListener, app: Arc<App>, stop: impl Future<Output = ()>) {
    let limits = app.config.limits.clone();
    let dispatcher = Arc::new(Dispatcher::new(Arc::clone(&app)));
    let builder = Arc::new(http_server(&limits));
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
            builder: Arc::clone(&builder),
            draining: draining.clone(),
            reset: cut_off.child_token(),
        };
        // The stream holds the permit, and counts as a task, for longer than this task if the connection is upgraded.
        let stream =
            ResettableStream::new(stream, connection.reset.clone(), (permit, tasks.token()));
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
        tasks.wait().await;
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

fn http_server(limits: &Limits) -> Builder<TokioExecutor> {
    let mut builder = Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.header_bytes);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(limits.streams_per_connection)
        .max_header_list_size(u32::try_from(limits.header_bytes).unwrap_or(u32::MAX))
        .keep_alive_interval(Duration::from_secs(30))
        .keep_alive_timeout(Duration::from_secs(20));
    builder
}

/// One client's connection.
struct Connection {
    dispatcher: Arc<Dispatcher>,
    builder: Arc<Builder<TokioExecutor>>,
    draining: CancellationToken,
    reset: CancellationToken,
}

impl Connection {
    async fn serve(self, stream: ResettableStream, peer: SocketAddr) {
        let handle = ConnectionHandle::new(peer, false, self.reset.clone());
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(handle.clone());
            let dispatcher = Arc::clone(&self.dispatcher);
            async move { Ok::<_, Infallible>(dispatcher.answer(request.map(Body::new)).await) }
        });
        // Without TLS there is no HTTP/2: no SDK asks for it, and the builder would wait for bytes to tell them apart.
        let builder = (*self.builder).clone().http1_only();
        let mut serving =
            pin!(builder.serve_connection_with_upgrades(TokioIo::new(stream), service));
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = self.reset.cancelled() => return,
            () = self.draining.cancelled() => {
                serving.as_mut().graceful_shutdown();
                tokio::select! {
                    ended = &mut serving => ended,
                    () = self.reset.cancelled() => return,
                }
            }
        };
        if let Err(error) = ended {
            tracing::debug!(%peer, error = %error, "connection ended");
        }
    }
}
