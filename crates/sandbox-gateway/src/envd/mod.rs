//! What E2B's daemon answers inside a sandbox: processes, files, health.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;

use crate::api_error::ApiError;
use crate::app::App;
use crate::routing::SandboxRef;

/// Answers a request to the daemon of a sandbox. A signed URL names no sandbox; everything else must.
pub(crate) async fn handle(
    _app: Arc<App>,
    _target: SandboxRef,
    _request: Request<Body>,
) -> Response {
    ApiError::unsupported("the daemon's API", "this version does not have it yet").into_response()
}
