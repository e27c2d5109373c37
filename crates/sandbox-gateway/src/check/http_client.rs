//! Requests to a gateway, each over a connection of its own. What answers is not trusted to be one.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use sandbox::Check;
use serde_json::Value;
use tokio_util::task::AbortOnDropHandle;

use super::connection::Dialer;

/// The longest body that is read.
const MAX_BODY: usize = 4 << 20;
/// How long a response may take. A sandbox that is created may need its image first.
pub(super) const TIMEOUT: Duration = Duration::from_secs(180);
/// How much of an unexpected response is shown.
const MAX_SHOWN: usize = 200;

/// Sends requests with a key.
pub(super) struct HttpClient {
    dialer: Dialer,
    key: Option<String>,
}

/// A whole response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// A response whose body is still arriving.
pub(super) struct Arriving {
    pub(super) response: Response<Incoming>,
    /// Drives the connection.
    _connection: AbortOnDropHandle<()>,
}

impl HttpClient {
    pub(super) fn new(dialer: Dialer, key: Option<String>) -> Self {
        Self { dialer, key }
    }

    /// Sends a request for a check of this name, with the key.
    pub(super) async fn send(
        &self,
        name: &str,
        method: Method,
        path: &str,
        body: Option<Value>,
    ) -> Result<Answer, Check> {
        let mut request = Request::builder().method(method).uri(path);
        if let Some(key) = &self.key {
            let value = HeaderValue::from_str(key);
            let mut value = value.map_err(|_invalid| {
                Check::failed("key", "it has characters that no key has")
                    .with_remedy(super::ADD_KEY)
            })?;
            value.set_sensitive(true);
            request = request.header("x-api-key", value);
        }
        let body = match body {
            Some(body) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                body.to_string()
            }
            None => String::new(),
        };
        let request = request.body(Full::new(Bytes::from(body)));
        let request = request.map_err(|error| Check::failed(name, error.to_string()))?;
        let whole = async {
            let arriving = self.exchange(name, request).await?;
            let (parts, body) = arriving.response.into_parts();
            let body = Limited::new(body, MAX_BODY).collect().await;
            let body = body.map_err(|error| cut_off(name, &error.to_string()))?;
            Ok(Answer {
                status: parts.status,
                headers: parts.headers,
                body: body.to_bytes(),
            })
        };
        within(name, whole).await
    }

    /// Sends a request as it is, but for `Host`.
    pub(super) async fn exchange(
        &self,
        name: &str,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Arriving, Check> {
        let authority = &self.dialer.origin.authority;
        let host = HeaderValue::from_str(authority);
        let host = host.map_err(|error| Check::failed(name, error.to_string()))?;
        request.headers_mut().insert(header::HOST, host);
        let stream = TokioIo::new(self.dialer.open().await?);
        let connected = http1::handshake(stream).await;
        let (mut sender, connection) = connected.map_err(|error| no_http(name, &error))?;
        // Its errors are those of the request.
        let connection = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ended = connection.await;
        }));
        let sent = sender.send_request(request).await;
        Ok(Arriving {
            response: sent.map_err(|error| no_http(name, &error))?,
            _connection: connection,
        })
    }
}

/// Fails what takes too long.
pub(super) async fn within<T>(
    name: &str,
    work: impl Future<Output = Result<T, Check>>,
) -> Result<T, Check> {
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(result) => result,
        Err(_elapsed) => {
            let detail = format!("no response within {} s", TIMEOUT.as_secs());
            let remedy = "read the gateway's log";
            Err(Check::failed(name, detail).with_remedy(remedy))
        }
    }
}

pub(super) fn cut_off(name: &str, error: &str) -> Check {
    Check::failed(name, format!("the response was cut off: {error}"))
        .with_remedy("read the gateway's log; proxies before it must have no limits on responses")
}

fn no_http(name: &str, error: &hyper::Error) -> Check {
    Check::failed(name, format!("what answers there speaks no HTTP: {error}"))
        .with_remedy("use https:// if the gateway has a certificate, and check the port")
}

impl Answer {
    pub(super) fn json(&self) -> Option<Value> {
        serde_json::from_slice(&self.body).ok()
    }

    /// The status and the message, for people.
    pub(super) fn describe(&self) -> String {
        let message = self
            .json()
            .and_then(|body| body["message"].as_str().map(str::to_owned))
            .unwrap_or_else(|| String::from_utf8_lossy(&self.body).trim().to_owned());
        let end = message.floor_char_boundary(MAX_SHOWN);
        match &message[..end] {
            "" => format!("status {}", self.status),
            shown => format!("status {}: {shown}", self.status),
        }
    }
}
