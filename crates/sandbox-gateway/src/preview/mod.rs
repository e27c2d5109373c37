//! Traffic to the ports of a sandbox.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;

use crate::api_error::ApiError;
use crate::app::App;
use crate::routing::SandboxRef;

/// Passes a request on to a port of a sandbox.
pub(crate) async fn handle(
    _app: Arc<App>,
    _target: SandboxRef,
    _request: Request<Body>,
) -> Response {
    ApiError::unsupported("traffic to ports", "this version does not have it yet").into_response()
}
