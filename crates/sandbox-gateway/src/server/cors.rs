//! Lets scripts of other origins use the API from a browser, if the settings name their origins.
//! <https://fetch.spec.whatwg.org/#http-cors-protocol>

use axum::response::{IntoResponse, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

/// What scripts may read besides what they always may.
const EXPOSED: &str = "x-next-token, retry-after, should-retry, content-disposition, grpc-status, grpc-message, connect-content-encoding";
const METHODS: &str = "GET, HEAD, POST, PUT, PATCH, DELETE";

/// The origin of a request, if its scripts may use the API.
#[derive(Debug)]
pub(super) struct AllowedOrigin(HeaderValue);

impl AllowedOrigin {
    /// Looks whether a request comes from one of these origins, of which `*` is every one.
    pub(super) fn of(headers: &HeaderMap, allowed: &[String]) -> Option<Self> {
        let origin = headers.get(ORIGIN)?;
        let is_allowed = allowed
            .iter()
            .any(|allowed| allowed == "*" || allowed.as_bytes() == origin.as_bytes());
        // No cookies are allowed, so that each origin may be named.
        is_allowed.then(|| Self(origin.clone()))
    }

    /// The response to a browser that asks before it sends a request.
    pub(super) fn answer_preflight(
        &self,
        method: &Method,
        headers: &HeaderMap,
    ) -> Option<Response> {
        if *method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        let mut response = StatusCode::NO_CONTENT.into_response();
        let allowed = response.headers_mut();
        allowed.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static(METHODS),
        );
        allowed.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("3600"));
        if let Some(asked) = headers.get(ACCESS_CONTROL_REQUEST_HEADERS) {
            allowed.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        }
        self.add_to(&mut response);
        Some(response)
    }

    /// Lets the script read a response.
    pub(super) fn add_to(&self, response: &mut Response) {
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, self.0.clone());
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static(EXPOSED),
        );
        headers.append(VARY, HeaderValue::from_static("origin"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs
            .iter()
            .map(|(name, value)| {
                (
                    http::HeaderName::from_static(name),
                    HeaderValue::from_static(value),
                )
            })
            .collect()
    }

    #[test]
    fn only_named_origins_are_allowed() {
        let from = headers(&[("origin", "https://app.example.com")]);
        let named = vec!["https://app.example.com".to_owned()];
        assert!(AllowedOrigin::of(&from, &[]).is_none());
        assert!(AllowedOrigin::of(&from, &["https://app.example.org".to_owned()]).is_none());
        assert!(AllowedOrigin::of(&HeaderMap::new(), &named).is_none());
        let origin = AllowedOrigin::of(&from, &named).unwrap();
        let mut response = StatusCode::OK.into_response();
        origin.add_to(&mut response);
        assert_eq!(
            response.headers()[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://app.example.com"
        );
        assert!(AllowedOrigin::of(&from, &["*".to_owned()]).is_some());
    }

    #[test]
    fn a_browser_that_asks_first_is_answered() {
        let asks = headers(&[
            ("origin", "https://a"),
            ("access-control-request-method", "POST"),
            ("access-control-request-headers", "x-api-key"),
        ]);
        let origin = AllowedOrigin::of(&asks, &["*".to_owned()]).unwrap();
        let response = origin.answer_preflight(&Method::OPTIONS, &asks).unwrap();
        assert_eq!(response.status(), StatusCode::NO_CONTENT);
        assert_eq!(
            response.headers()[ACCESS_CONTROL_ALLOW_HEADERS],
            "x-api-key"
        );
        assert!(origin.answer_preflight(&Method::POST, &asks).is_none());
        assert!(
            origin
                .answer_preflight(&Method::OPTIONS, &HeaderMap::new())
                .is_none()
        );
    }
}
