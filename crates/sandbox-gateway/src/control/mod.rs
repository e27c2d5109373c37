//! The REST API: sandboxes and templates.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;

use crate::api_error::ApiError;
use crate::app::App;

/// Answers a request to the REST API.
pub(crate) async fn handle(_app: Arc<App>, _request: Request<Body>) -> Response {
    ApiError::unsupported("the REST API", "this version does not have it yet").into_response()
}
