//! The page for people.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::Request;

use crate::api_error::ApiError;
use crate::app::App;

/// Answers a request for the page or one of its files.
pub(crate) async fn handle(_app: Arc<App>, _request: Request<Body>) -> Response {
    ApiError::not_found("this server has no page").into_response()
}
