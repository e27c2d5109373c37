//! Responses of the proxy itself.

use http::header::{CONNECTION, CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use hyper::ext::ReasonPhrase;

use super::body::{ResponseBody, text_body};
use crate::proxy::denial::Denial;
use crate::rules::name::Target;

/// Says why a target is not reached.
pub(super) fn refuse(target: &Target, denial: &Denial) -> Response<ResponseBody> {
    let mut response = describe(denial.status(), denial.message(target));
    // Many programs show nothing but the first line of a response to CONNECT.
    if denial.status() == StatusCode::FORBIDDEN {
        let phrase = format!("Forbidden by the egress rules of the sandbox: {target}");
        if let Ok(phrase) = ReasonPhrase::try_from(phrase) {
            response.extensions_mut().insert(phrase);
        }
    }
    response
}

/// Says that a server spoke another protocol than it was asked for.
pub(super) fn refuse_upgrade(target: &Target) -> Response<ResponseBody> {
    let text = format!("egress to {target} failed: the server changed the protocol, unasked\n");
    describe(StatusCode::BAD_GATEWAY, text)
}

/// Returns a response of this text.
pub(super) fn describe(status: StatusCode, text: String) -> Response<ResponseBody> {
    let mut response = Response::new(text_body(text));
    *response.status_mut() = status;
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, plain);
    response
}

/// Has the connection end after a response.
pub(super) fn close(response: &mut Response<ResponseBody>) {
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
}
