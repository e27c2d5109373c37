//! Errors as the clients of the API expect them: each has the body `{"code", "message"}` and a standard status.

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header::HeaderName};
use sandbox::SandboxId;
use serde_json::json;

/// Tells a client whether sending the same request again can succeed.
const SHOULD_RETRY: HeaderName = HeaderName::from_static("should-retry");

/// How long a caller should wait before it tries again what a backend has no room for, or does not respond to, in seconds.
pub(crate) const RETRY_AFTER: u64 = 5;

/// A refused request.
///
/// The body is always JSON with an integer `code` that equals the status, because E2B's SDKs fail to parse anything
/// else, and then hide the message.
#[derive(Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    message: String,
    error_code: Option<&'static str>,
    retry: Retry,
}

/// What a client is told about sending the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Retry {
    /// The client decides by the status.
    Unsaid,
    /// It cannot succeed.
    Never,
    /// It can succeed after so many seconds.
    After(u64),
}

impl ApiError {
    /// An error with this status, which must be one that clients know: 400, 401, 403, 404, 409, 413, 429 or 5xx up to 507.
    pub(crate) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
            error_code: None,
            retry: Retry::Unsaid,
        }
    }

    /// 400: the request is malformed, or asks for what this server cannot enforce.
    pub(crate) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: the caller has not shown who it is.
    pub(crate) fn unauthorized(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 404: there is no such thing, or it belongs to another key.
    pub(crate) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// 404 for a sandbox.
    pub(crate) fn no_sandbox(id: &str) -> Self {
        Self::not_found(format!(
            "Sandbox \"{id}\" doesn't exist or you don't have access to it"
        ))
    }

    /// 501: the server lacks the feature. `why` completes the sentence.
    pub(crate) fn unsupported(feature: &str, why: &str) -> Self {
        let message = format!("{feature} is not supported by this server: {why}");
        Self::new(StatusCode::NOT_IMPLEMENTED, message).never_retry()
    }

    /// 500. The details belong into the log, not here.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// Adds a machine-readable code.
    pub(crate) fn with_error_code(mut self, code: &'static str) -> Self {
        self.error_code = Some(code);
        self
    }

    /// Tells the client that the same request cannot succeed later either.
    pub(crate) fn never_retry(mut self) -> Self {
        self.retry = Retry::Never;
        self
    }

    /// Tells the client to wait this many seconds before it tries again.
    pub(crate) fn retry_after(mut self, seconds: u64) -> Self {
        self.retry = Retry::After(seconds);
        self
    }

    /// Returns the status.
    pub(crate) fn status(&self) -> StatusCode {
        self.status
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "code": self.status.as_u16(), "message": self.message });
        if let (Some(code), Some(object)) = (self.error_code, body.as_object_mut()) {
            object.insert("error_code".to_owned(), json!(code));
        }
        let mut response = (self.status, Json(body)).into_response();
        let headers = response.headers_mut();
        match self.retry {
            Retry::Unsaid => {}
            Retry::Never => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("false"));
            }
            Retry::After(seconds) => {
                headers.insert(SHOULD_RETRY, HeaderValue::from_static("true"));
                headers.insert(http::header::RETRY_AFTER, HeaderValue::from(seconds));
            }
        }
        response
    }
}

/// The response to traffic for a sandbox that has ended, is paused, or never was. E2B's SDKs look for `was not found`.
pub(crate) fn sandbox_gone(id: &str) -> Response {
    let body = json!({ "sandboxId": id, "message": "The sandbox was not found", "code": 502 });
    (StatusCode::BAD_GATEWAY, Json(body)).into_response()
}

/// The response to traffic for a port that nothing listens on. E2B's SDKs look for `port is not open`.
pub(crate) fn port_closed(id: &SandboxId, port: u16) -> Response {
    let body = json!({
        "sandboxId": id.as_str(),
        "message": "The sandbox is running but port is not open",
        "port": port,
        "code": 502,
    });
    (StatusCode::BAD_GATEWAY, Json(body)).into_response()
}
