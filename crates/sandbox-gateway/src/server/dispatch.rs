//! Leads each request to the part that answers it.

use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode};

use crate::api_error::ApiError;
use crate::app::App;
use crate::control::Control;
use crate::routing::{Route, route};
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
        let host = match authority(&request) {
            Ok(host) => host,
            Err(refused) => return refused.into_response(),
        };
        let app = Arc::clone(&self.app);
        let domain = app.config.domain.as_deref();
        match route(request.uri().path(), request.headers(), host, domain) {
            Ok(Route::Control) => self.control.answer(request).await,
            Ok(Route::Envd(target)) => envd::handle(app, target, request).await,
            Ok(Route::Interpreter(target)) => interpreter::handle(app, target, request).await,
            Ok(Route::Port(target)) => preview::handle(app, target, request).await,
            Ok(Route::Liveness) => (StatusCode::OK, "ok\n").into_response(),
            Ok(Route::Page) => web::handle(app, request).await,
            Ok(Route::Unknown) => {
                ApiError::not_found("there is nothing under this path").into_response()
            }
            Err(refused) => refused.into_response(),
        }
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
