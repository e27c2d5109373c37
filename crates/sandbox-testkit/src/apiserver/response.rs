//! Responses.

use std::convert::Infallible;
use std::fmt;
use std::time::SystemTime;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderValue, Response};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::clock::http_date;
use super::fault::Refusal;

/// The body of a response.
pub type Body = UnsyncBoxBody<Bytes, ConnectionCut>;

/// The connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionCut;

impl fmt::Display for ConnectionCut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl std::error::Error for ConnectionCut {}

/// A response before it is encoded as HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ApiResponse {
    pub(super) code: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<u64>,
}

impl ApiResponse {
    pub(super) fn ok(code: u16, body: Value) -> Self {
        Self {
            code,
            body,
            retry_after: None,
        }
    }

    pub(super) fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::from_refusal(&Refusal::new(code, reason, message))
    }

    pub(super) fn from_refusal(refusal: &Refusal) -> Self {
        let mut body = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": refusal.message, "reason": refusal.reason, "code": refusal.code,
        });
        if let Some(seconds) = refusal.retry_after {
            body["details"] = json!({"retryAfterSeconds": seconds});
        }
        Self {
            code: refusal.code,
            body,
            retry_after: refusal.retry_after,
        }
    }

    pub(super) fn into_response(self, now: SystemTime) -> Response<Body> {
        let body = Full::new(Bytes::from(self.body.to_string()))
            .map_err(|never: Infallible| match never {});
        let mut response = http_response(self.code, now, body.boxed_unsync());
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// Creates an HTTP response with the headers of an API server.
pub(super) fn http_response(code: u16, now: SystemTime, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() =
        http::StatusCode::from_u16(code).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    if let Ok(date) = HeaderValue::try_from(http_date(now)) {
        response.headers_mut().insert(DATE, date);
    }
    response
}
