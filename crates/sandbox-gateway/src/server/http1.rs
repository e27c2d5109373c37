//! HTTP/1.1 on one connection.

use std::convert::Infallible;
use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use axum::body::Body;
use axum::response::Response;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::leftover::{Leftover, RequestBody, ResponseBody};
use super::request_timer::{Overdue, RequestTimer};
use crate::config::Limits;

/// How much of a body is read from a connection, or written to it, at once.
const BODY_BUFFER: usize = 256 << 10;

/// How HTTP/1.1 is spoken.
pub(super) struct Http1 {
    builder: http1::Builder,
    header_timeout: Duration,
    idle_timeout: Duration,
}

impl Http1 {
    pub(super) fn new(limits: &Limits) -> Self {
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(None::<Duration>)
            .max_header_size(limits.header_bytes)
            .max_buf_size(limits.header_bytes.max(BODY_BUFFER));
        Self {
            builder,
            header_timeout: limits.header_timeout,
            idle_timeout: limits.idle_timeout,
        }
    }

    /// Serves a connection until it ends or has waited for too long, or until it is `draining` and its request is answered.
    pub(super) async fn serve<S, A, F>(
        &self,
        stream: S,
        answer: A,
        draining: &CancellationToken,
    ) -> hyper::Result<()>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        A: Fn(Request<Body>) -> F,
        F: Future<Output = Response>,
    {
        let mut timer = RequestTimer::new(self.header_timeout, self.idle_timeout);
        let (leftovers, mut left) = mpsc::unbounded_channel::<Leftover>();
        let begin_request = timer.begin_requests();
        let service = service_fn(move |request: Request<Incoming>| {
            let busy = begin_request();
            let (head, body) = request.into_parts();
            let body = RequestBody::new(body, &head.headers, busy.clone(), leftovers.clone());
            let answered = answer(Request::from_parts(head, Body::new(body)));
            async move {
                let response = answered.await;
                Ok::<_, Infallible>(response.map(|body| ResponseBody::new(body, busy)))
            }
        });
        let stream = TokioIo::new(timer.watch(stream));
        let connection = self.builder.serve_connection(stream, service);
        let mut serving = pin!(connection.with_upgrades());
        let mut discarding: Option<Discarding> = None;
        let mut is_closing = false;
        loop {
            // In this order, so that the timer sees what the connection has read.
            tokio::select! {
                biased;
                ended = &mut serving => return ended,
                () = draining.cancelled(), if !is_closing => is_closing = true,
                Some(leftover) = left.recv() => {
                    discarding = Some(Box::pin(leftover.discard()));
                    continue;
                }
                () = finish(&mut discarding) => {
                    discarding = None;
                    continue;
                }
                overdue = timer.wait() => match overdue {
                    Overdue::Head => {
                        tracing::debug!("connection cut off; the head of a request is late");
                        return Ok(());
                    }
                    Overdue::Request => is_closing = true,
                }
            }
            // What is being served is finished before the connection closes.
            serving.as_mut().graceful_shutdown();
            timer.expect_no_request();
        }
    }
}

/// What reads the rest of a body.
type Discarding = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn finish(discarding: &mut Option<Discarding>) {
    match discarding {
        Some(discarding) => discarding.await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests;
