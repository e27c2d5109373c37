//! The body of a request to the REST API.

use axum::body::Body;
use bytes::Bytes;
use http::StatusCode;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use serde::de::DeserializeOwned;

use crate::api_error::ApiError;
use crate::config::Limits;

/// Reads the body, as far as limits on its size and on the time allow.
pub(super) async fn read(body: Body, limits: &Limits) -> Result<Bytes, ApiError> {
    let limited = Limited::new(body, limits.body_bytes);
    let Ok(collected) = tokio::time::timeout(limits.body_timeout, limited.collect()).await else {
        return Err(ApiError::bad_request(
            "the body of the request did not arrive in time",
        ));
    };
    match collected {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.is::<LengthLimitError>() => {
            let message = format!(
                "the body of the request has more than {} bytes",
                limits.body_bytes
            );
            Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, message))
        }
        Err(_lost) => Err(ApiError::bad_request("the body of the request was cut off")),
    }
}

/// Parses a body. An empty one is an empty object: some clients send none if all fields are optional.
pub(super) fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let json = body.trim_ascii();
    let json = if json.is_empty() { b"{}" } else { json };
    // A list would be taken for the fields in their order.
    if !json.starts_with(b"{") {
        return Err(ApiError::bad_request(
            "the body is not as expected: it must be a JSON object",
        ));
    }
    serde_json::from_slice(json)
        .map_err(|error| ApiError::bad_request(format!("the body is not as expected: {error}")))
}
