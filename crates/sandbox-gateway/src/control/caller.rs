//! Who makes a request to the REST API.

use std::time::Instant;

use http::request::Parts;
use http::{HeaderMap, StatusCode, header};

use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;

/// The header in which E2B's SDKs send the key.
const API_KEY: &str = "x-api-key";

/// Finds out who makes a request, and counts it against the rate of the key. Nothing else of the request is looked at
/// before, so that an unknown caller learns nothing from the response.
pub(super) fn identify(app: &App, parts: &Parts) -> Result<Caller, ApiError> {
    let key = sent_key(&parts.headers).ok_or_else(|| {
        ApiError::unauthorized("an API key is required; send it in the header X-API-Key")
    })?;
    let caller = app
        .keys
        .authenticate(key)
        .ok_or_else(|| ApiError::unauthorized("the API key is not valid"))?;
    match app.keys.take_request(&caller, Instant::now()) {
        Ok(()) => Ok(caller),
        Err(seconds) => {
            let rate = caller.limits.requests_per_second;
            let message =
                format!("more than {rate} requests a second with this API key; retry later");
            Err(ApiError::new(StatusCode::TOO_MANY_REQUESTS, message)
                .with_error_code("rate_limited")
                .retry_after(seconds))
        }
    }
}

/// The key in `X-API-Key`, or in `Authorization: Bearer`, which E2B's command sends. Only one of them, and once.
fn sent_key(headers: &HeaderMap) -> Option<&str> {
    let mut keys = headers.get_all(API_KEY).iter();
    let mut bearers = headers.get_all(header::AUTHORIZATION).iter();
    match (keys.next(), keys.next(), bearers.next(), bearers.next()) {
        (Some(key), None, _, _) => key.to_str().ok(),
        (None, None, Some(bearer), None) => {
            let (scheme, key) = bearer.to_str().ok()?.split_once(' ')?;
            Some(key).filter(|_| scheme.eq_ignore_ascii_case("bearer"))
        }
        _none_or_several => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::{HeaderName, HeaderValue};

    type Headers<'a> = &'a [(&'a str, &'a str)];

    #[test]
    fn a_key_is_sent_once() {
        let cases: &[(Headers<'_>, Option<&str>)] = &[
            (&[], None),
            (&[("X-API-KEY", "k")], Some("k")),
            (&[("x-api-key", "k"), ("x-api-key", "l")], None),
            (&[("authorization", "Bearer k")], Some("k")),
            (&[("authorization", "bearer k")], Some("k")),
            (&[("authorization", "Basic k")], None),
            (
                &[("authorization", "Bearer k"), ("authorization", "Bearer l")],
                None,
            ),
            (
                &[("x-api-key", "k"), ("authorization", "Bearer l")],
                Some("k"),
            ),
        ];
        for (headers, expected) in cases {
            let mut map = HeaderMap::new();
            for (name, value) in *headers {
                map.append(
                    name.parse::<HeaderName>().unwrap(),
                    HeaderValue::from_static(value),
                );
            }
            assert_eq!(sent_key(&map), *expected, "{headers:?}");
        }
    }
}
