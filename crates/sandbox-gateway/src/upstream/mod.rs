//! Requests to servers inside sandboxes: HTTP/1.1 over streams to their ports.

mod awake;
mod body;
mod pool;

use std::time::Duration;

use axum::body::Body;
use http::{Method, Request, Response};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use sandbox::{ConnectionStage, Sandbox};

pub(crate) use self::awake::open_awake;
use self::body::{Activity, WatchedBody};
use self::pool::ReturnedAtEnd;
pub(crate) use self::pool::Upstreams;

/// The longest head of a response in bytes, and the greatest number of its headers.
const MAX_HEAD: (usize, usize) = (64 * 1024, 256);
/// The pauses before a port that is closed is tried again: a server that was just started may not listen yet.
const PORT_RETRIES: [Duration; 3] = [
    Duration::from_millis(50),
    Duration::from_millis(150),
    Duration::from_millis(300),
];

/// Why a server inside a sandbox gave no response.
#[derive(Debug)]
pub(crate) enum UpstreamError {
    /// Nothing listens on the port.
    PortClosed,
    /// The sandbox has ended, is paused, or cannot be reached.
    Sandbox(sandbox::Error),
    /// It closed the connection, or what it sent is no response.
    Http(hyper::Error),
    /// It was silent for too long.
    Timeout,
}

impl Upstreams {
    /// Sends a request to the server on this port, and returns its response, whose body is still arriving. A response
    /// with status 101 can be upgraded.
    ///
    /// A connection is used again only for requests that can be repeated. So a request that changes something is never
    /// lost because its server has closed an idle connection at that moment.
    ///
    /// The server may take `silence` until the head of its response arrives, counted from the last data that it was sent.
    pub(crate) async fn send(
        &self,
        sandbox: &Sandbox,
        port: u16,
        request: Request<Body>,
        silence: Duration,
    ) -> Result<Response<Body>, UpstreamError> {
        let key = (sandbox.uid().clone(), port);
        let is_repeatable = is_repeatable(&request);
        let activity = Activity::default();
        let mut request = request.map(|body| Body::new(WatchedBody::new(body, activity.clone())));
        if is_repeatable {
            while let Some(mut sender) = self.take(&key) {
                let again = copy_head(&request);
                match activity
                    .limit(sender.try_send_request(request), silence)
                    .await
                {
                    None => return Err(UpstreamError::Timeout),
                    Some(Ok(response)) => return Ok(self.keep(key, sender, response)),
                    // Closed while it was idle, before or after the request was written.
                    Some(Err(_closed)) => request = again,
                }
            }
        }
        let mut sender = connect(sandbox, port).await?;
        let sending = sender.send_request(request);
        match activity.limit(sending, silence).await {
            None => Err(UpstreamError::Timeout),
            Some(Ok(response)) => Ok(self.keep(key, sender, response)),
            Some(Err(error)) => Err(UpstreamError::Http(error)),
        }
    }

    /// Keeps the connection for the next request once the response has ended.
    fn keep(
        &self,
        key: pool::Key,
        sender: SendRequest<Body>,
        response: Response<hyper::body::Incoming>,
    ) -> Response<Body> {
        response.map(|body| Body::new(ReturnedAtEnd::new(body, sender, key, self.clone())))
    }
}

/// Whether a request changes nothing and has no body, so that sending it twice is as good as once.
fn is_repeatable(request: &Request<Body>) -> bool {
    let is_safe = matches!(
        *request.method(),
        Method::GET | Method::HEAD | Method::OPTIONS
    );
    is_safe
        && hyper::body::Body::is_end_stream(request.body())
        && !request.headers().contains_key(http::header::UPGRADE)
}

fn copy_head(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    copy
}

/// Connects to the server on this port. One that does not listen yet gets a moment.
async fn connect(sandbox: &Sandbox, port: u16) -> Result<SendRequest<Body>, UpstreamError> {
    let mut retries = PORT_RETRIES.iter();
    let stream = loop {
        match sandbox.open_port(port).await {
            Ok(stream) => break stream,
            Err(sandbox::Error::Connection(error)) if error.stage == ConnectionStage::Channel => {
                let Some(pause) = retries.next() else {
                    return Err(UpstreamError::PortClosed);
                };
                tokio::time::sleep(*pause).await;
            }
            Err(error) => return Err(UpstreamError::Sandbox(error)),
        }
    };
    let (sender, connection) = http1::Builder::new()
        .max_buf_size(MAX_HEAD.0)
        .max_headers(MAX_HEAD.1)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(UpstreamError::Http)?;
    tokio::spawn(async move {
        // Its end is reported to the request that is on it.
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(port, %error, "connection to a server in a sandbox ended");
        }
    });
    Ok(sender)
}
