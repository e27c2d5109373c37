//! Leads each request to the part that answers it.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};

use super::cors::AllowedOrigin;
use crate::api_error::ApiError;
use crate::app::App;
use crate::control::Control;
use crate::routing::{Route, route};
use crate::telemetry::record_request;
use crate::{envd, interpreter, preview, web};

/// Leads each request to the part that answers it.
pub(super) struct Dispatcher {
    app: Arc<App>,
    control: Control,
}

impl Dispatcher {
    pub(super) fn new(app: Arc<App>) -> Self {
        Self {
            control: Control::new(Arc::clone(&app)),
            app,
        }
    }

    /// Answers a request.
    pub(super) async fn answer(&self, request: Request<Body>) -> Response {
        let started_at = Instant::now();
        let (kind, response) = self.answer_by_route(request).await;
        record_request(kind, response.status(), started_at.elapsed());
        response
    }

    /// Answers a request, and says what it was for.
    async fn answer_by_route(&self, request: Request<Body>) -> (&'static str, Response) {
        let app = Arc::clone(&self.app);
        let route = authority(&request).and_then(|host| {
            let domain = app.config.domain.as_deref();
            route(request.uri().path(), request.headers(), host, domain)
        });
        match route {
            Ok(Route::Port(target)) => ("port", preview::handle(app, target, request).await),
            Ok(route) => self.answer_api(route, request).await,
            Err(refused) => ("other", refused.into_response()),
        }
    }

    /// Answers a request that is not passed on as it is. So it is the gateway that says which origins may use it.
    async fn answer_api(&self, route: Route, request: Request<Body>) -> (&'static str, Response) {
        let app = Arc::clone(&self.app);
        let origin = AllowedOrigin::of(request.headers(), &app.config.cors);
        let preflight = origin
            .as_ref()
            .and_then(|origin| origin.answer_preflight(request.method(), request.headers()));
        if let Some(response) = preflight {
            return ("other", response);
        }
        let (kind, mut response) = match route {
            Route::Control => ("api", self.control.answer(request).await),
            Route::Envd(target) => ("envd", envd::handle(app, target, request).await),
            Route::Interpreter(target) => (
                "interpreter",
                interpreter::handle(app, target, request).await,
            ),
            Route::Port(target) => ("port", preview::handle(app, target, request).await),
            Route::Liveness => ("other", (StatusCode::OK, "ok\n").into_response()),
            Route::Page => ("page", web::handle(app, request).await),
            Route::Unknown => {
                let error = ApiError::not_found("there is nothing under this path");
                ("other", error.into_response())
            }
        };
        if let Some(origin) = origin {
            origin.add_to(&mut response);
        }
        (kind, response)
    }
}

/// The host that a request is for: that of its target (HTTP/2 and absolute forms), else its one header Host. If both are
/// there they must agree, because a proxy before the gateway may have judged the other one.
fn authority(request: &Request<Body>) -> Result<Option<&str>, ApiError> {
    let target = request.uri().authority().map(http::uri::Authority::as_str);
    let mut headers = request.headers().get_all(http::header::HOST).iter();
    let header = match headers.next().map(http::HeaderValue::to_str) {
        None => None,
        Some(Ok(host)) => Some(host),
        Some(Err(_not_text)) => return Err(ApiError::bad_request("the header Host is not text")),
    };
    let differs = matches!((target, header), (Some(target), Some(header)) if !target.eq_ignore_ascii_case(header));
    if headers.next().is_some() || differs {
        return Err(ApiError::bad_request(
            "the request names more than one host",
        ));
    }
    Ok(target.or(header))
}
