//! The REST API: sandboxes and templates.

mod access;
mod body;
mod caller;
mod create;
mod failure;
mod lists;
mod logs;
mod metrics;
mod model;
mod network;
mod one;
mod page;
mod query;
mod templates;
mod time;
mod unsupported;

use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::body::Body;
use axum::extract::DefaultBodyLimit;
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get, post, put};
use http::{Request, StatusCode};
use tower::ServiceExt;

use crate::api_error::ApiError;
use crate::app::App;

/// The REST API.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    app: Arc<App>,
    router: Router,
}

impl Control {
    pub(crate) fn new(app: Arc<App>) -> Self {
        let router = Router::new()
            .route("/sandboxes", get(lists::list_running).post(create::create))
            .route("/v2/sandboxes", get(lists::list_page).post(create::create))
            .route("/sandboxes/metrics", get(metrics::show_several))
            .route("/sandboxes/{id}", get(one::show).delete(one::kill))
            .route("/sandboxes/{id}/connect", post(one::connect))
            .route("/v2/sandboxes/{id}/connect", post(one::connect))
            .route("/sandboxes/{id}/resume", post(one::connect))
            .route("/sandboxes/{id}/timeout", post(one::set_timeout))
            .route("/sandboxes/{id}/refreshes", post(one::refresh))
            .route("/sandboxes/{id}/pause", post(one::pause))
            .route("/sandboxes/{id}/logs", get(logs::show))
            .route("/v2/sandboxes/{id}/logs", get(logs::show))
            .route("/sandboxes/{id}/metrics", get(metrics::show))
            .route("/sandboxes/{id}/snapshots", post(unsupported::snapshot))
            .route("/sandboxes/{id}/fork", post(unsupported::fork))
            .route("/sandboxes/{id}/network", put(network::update))
            .route("/snapshots", get(unsupported::snapshots))
            .route("/templates", get(templates::list).post(unsupported::builds))
            .route("/templates/aliases/{alias}", get(templates::find_alias))
            .route(
                "/templates/{id}",
                any(unsupported::builds).delete(templates::delete),
            )
            .route("/templates/{id}/{*rest}", any(unsupported::builds))
            .route("/v2/templates/{*rest}", any(unsupported::builds))
            .route("/v3/templates", post(unsupported::builds))
            .route("/v3/templates/{*rest}", any(unsupported::builds))
            .route("/volumes", any(unsupported::volumes))
            .route("/volumes/{*rest}", any(unsupported::volumes))
            .route("/volumecontent/{*rest}", any(unsupported::volumes))
            .route("/secrets", any(unsupported::secrets))
            .route("/secrets/{*rest}", any(unsupported::secrets))
            .route("/teams", any(unsupported::administration))
            .route("/teams/{*rest}", any(unsupported::administration))
            .route("/api-keys", any(unsupported::administration))
            .route("/api-keys/{*rest}", any(unsupported::administration))
            .fallback(|| async { ApiError::not_found("there is no such endpoint") })
            .method_not_allowed_fallback(|| async {
                ApiError::new(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "the endpoint does not have this method",
                )
            })
            // The body was read already, with the limit of the settings.
            .layer(DefaultBodyLimit::disable())
            .with_state(Arc::clone(&app));
        Self { app, router }
    }

    /// Answers a request.
    pub(crate) async fn answer(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let (method, path) = (parts.method.clone(), parts.uri.path().to_owned());
        let started_at = Instant::now();
        let (caller, response) = match caller::identify(&self.app, &parts) {
            Ok(caller) => {
                let name = caller.name.clone();
                let mut request = Request::from_parts(parts, body);
                request.extensions_mut().insert(caller);
                (Some(name), self.answer_caller(request).await)
            }
            Err(refused) => (None, refused.into_response()),
        };
        tracing::info!(
            caller = caller.as_deref().unwrap_or("unknown"),
            %method,
            path,
            status = response.status().as_u16(),
            duration_ms = u64::try_from(started_at.elapsed().as_millis()).unwrap_or(u64::MAX),
            "API request"
        );
        response
    }

    async fn answer_caller(&self, request: Request<Body>) -> Response {
        let (parts, body) = request.into_parts();
        let body = match body::read(body, &self.app.config.limits).await {
            Ok(body) => body,
            Err(refused) => return refused.into_response(),
        };
        let request = Request::from_parts(parts, Body::from(body));
        match self.router.clone().oneshot(request).await {
            Ok(response) => as_json_error(response),
            Err(never) => match never {},
        }
    }
}

/// Gives errors of the router itself, such as for a path that is not UTF-8, the body that clients expect.
fn as_json_error(response: Response) -> Response {
    let status = response.status();
    let is_text = response
        .headers()
        .get(http::header::CONTENT_TYPE)
        .is_none_or(|value| value.as_bytes().starts_with(b"text/"));
    if (status.is_client_error() || status.is_server_error()) && is_text {
        return ApiError::new(status, "the request is malformed").into_response();
    }
    response
}
