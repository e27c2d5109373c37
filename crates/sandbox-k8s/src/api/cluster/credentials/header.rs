//! The value of `Authorization`.

use http::HeaderValue;

use crate::api::cluster::errors::CredentialError;

/// Formats a bearer token (RFC 6750). White space around it comes from an editor.
pub(super) fn bearer_header(token: &str) -> Result<HeaderValue, CredentialError> {
    sensitive_header(&format!("Bearer {}", token.trim()))
}

/// Formats a user name and password (RFC 7617).
pub(super) fn basic_header(user: &str, password: &str) -> Result<HeaderValue, CredentialError> {
    let pair = k8s_openapi::ByteString(format!("{user}:{password}").into_bytes());
    match serde_json::to_value(pair) {
        Ok(serde_json::Value::String(encoded)) => sensitive_header(&format!("Basic {encoded}")),
        _ => Err(CredentialError::new(
            "the user name and password cannot be encoded",
        )),
    }
}

fn sensitive_header(text: &str) -> Result<HeaderValue, CredentialError> {
    let mut header = HeaderValue::from_bytes(text.as_bytes()).map_err(|_invalid| {
        CredentialError::new("the token has a line break or control character in it; log in again")
    })?;
    header.set_sensitive(true);
    Ok(header)
}
