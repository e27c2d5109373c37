//! The sandbox and the port that headers name.

use http::HeaderMap;
use sandbox::SandboxId;

use super::{SANDBOX_ID, SANDBOX_PORT, parse_port};
use crate::api_error::ApiError;

pub(super) fn parse_port_header(headers: &HeaderMap) -> Result<Option<u16>, ApiError> {
    let Some(text) = single(headers, SANDBOX_PORT)? else {
        return Ok(None);
    };
    match parse_port(text) {
        Some(port) => Ok(Some(port)),
        None => Err(ApiError::bad_request(
            "the header E2b-Sandbox-Port is no port from 1 to 65535",
        )),
    }
}

pub(super) fn parse_id_header(headers: &HeaderMap) -> Result<Option<SandboxId>, ApiError> {
    let Some(text) = single(headers, SANDBOX_ID)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(id) => Ok(Some(id)),
        Err(_invalid) => Err(ApiError::bad_request(
            "the header E2b-Sandbox-Id is no id of a sandbox",
        )),
    }
}

/// The value of a header that may be sent once. A proxy might have judged another one of several.
fn single<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a str>, ApiError> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    if values.next().is_some() {
        return Err(ApiError::bad_request(format!(
            "the header {name} is sent more than once"
        )));
    }
    match first.map(http::HeaderValue::to_str) {
        None => Ok(None),
        Some(Ok(text)) => Ok(Some(text)),
        Some(Err(_not_text)) => Err(ApiError::bad_request(format!(
            "the header {name} is not text"
        ))),
    }
}
