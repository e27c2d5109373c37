//! Code execution with kept state: what `e2b-code-interpreter` asks of port 49999.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;

use crate::api_error::ApiError;
use crate::app::App;
use crate::routing::SandboxRef;

/// Answers a request to the code interpreter of a sandbox.
pub(crate) async fn handle(
    _app: Arc<App>,
    _target: SandboxRef,
    _request: Request<Body>,
) -> Response {
    ApiError::unsupported("run_code", "this version does not have it yet").into_response()
}
