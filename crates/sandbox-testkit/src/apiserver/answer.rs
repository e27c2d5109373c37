//! What goes back.

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

/// A body of an answer.
pub type Body = UnsyncBoxBody<Bytes, Cut>;

/// The connection was cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut;

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the connection was cut")
    }
}

impl std::error::Error for Cut {}

/// An answer as it is decided, before it is put into HTTP.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Answer {
    pub(super) code: u16,
    pub(super) body: Value,
    pub(super) retry_after: Option<u64>,
}

impl Answer {
    pub(super) fn ok(code: u16, body: Value) -> Self {
        Self {
            code,
            body,
            retry_after: None,
        }
    }

    pub(super) fn failure(code: u16, reason: &str, message: impl Into<String>) -> Self {
        Self::of(&Refusal::new(code, reason, message))
    }

    pub(super) fn of(refusal: &Refusal) -> Self {
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
        let mut response = response(self.code, now, body.boxed_unsync());
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

pub(super) fn response(code: u16, now: SystemTime, body: Body) -> Response<Body> {
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
