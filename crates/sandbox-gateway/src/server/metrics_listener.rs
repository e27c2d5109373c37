//! Serves metrics to Prometheus, on an address of their own: the path `/metrics` of the main one belongs to E2B's API.

use std::convert::Infallible;
use std::net::SocketAddr;

use axum::response::{IntoResponse, Response};
use http::header::CONTENT_TYPE;
use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::config::Limits;
use crate::error::GatewayError;
use crate::telemetry::PrometheusRecorder;

/// The greatest number of connections at once. Prometheus needs one.
const MAX_CONNECTIONS: usize = 16;

/// Listens for Prometheus.
#[derive(Debug)]
pub(super) struct MetricsListener {
    listener: TcpListener,
    recorder: PrometheusRecorder,
}

impl MetricsListener {
    pub(super) async fn bind(address: SocketAddr) -> Result<Self, GatewayError> {
        let recorder = PrometheusRecorder::installed()?;
        let listener = sandbox_net::bind(address)
            .await
            .map_err(|source| GatewayError::Listen { address, source })?;
        Ok(Self { listener, recorder })
    }

    /// Returns the address that it listens on.
    pub(super) fn local_addr(&self) -> Option<SocketAddr> {
        self.listener.local_addr().ok()
    }

    /// Serves until it is dropped.
    pub(super) async fn serve(self, limits: Limits) {
        let mut connections = JoinSet::new();
        loop {
            while connections.len() >= MAX_CONNECTIONS {
                connections.join_next().await;
            }
            let stream = match self.listener.accept().await {
                Ok((stream, _)) => stream,
                Err(error) => {
                    tracing::warn!(%error, "connection for metrics not accepted");
                    tokio::time::sleep(super::connections::ACCEPT_BACKOFF).await;
                    continue;
                }
            };
            while connections.try_join_next().is_some() {}
            let recorder = self.recorder.clone();
            let timeout = limits.header_timeout;
            connections.spawn(async move {
                let service = service_fn(|request: Request<Incoming>| {
                    let response = answer(&recorder, &request);
                    async move { Ok::<_, Infallible>(response) }
                });
                let mut builder = http1::Builder::new();
                builder
                    .timer(TokioTimer::new())
                    .header_read_timeout(timeout)
                    .keep_alive(false);
                if let Err(error) = builder
                    .serve_connection(TokioIo::new(stream), service)
                    .await
                {
                    tracing::debug!(%error, "connection for metrics ended");
                }
            });
        }
    }
}

fn answer(recorder: &PrometheusRecorder, request: &Request<Incoming>) -> Response {
    match (request.method(), request.uri().path()) {
        (&Method::GET | &Method::HEAD, "/metrics") => (
            [(CONTENT_TYPE, "text/plain; version=0.0.4")],
            recorder.render(),
        )
            .into_response(),
        _other => (StatusCode::NOT_FOUND, "GET /metrics\n").into_response(),
    }
}
