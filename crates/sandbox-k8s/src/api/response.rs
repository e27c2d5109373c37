//! The response to one attempt of a request.

use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http::header::RETRY_AFTER;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::client::Body;
use sandbox_core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::api::classify;
use crate::api::lost::LostConnection;

/// What Go's servers, and so API servers, write to a client that speaks HTTP on their TLS port, and what nginx writes.
const FROM_TLS_PORTS: [&str; 2] = [
    "Client sent an HTTP request to an HTTPS server",
    "The plain HTTP request was sent to HTTPS port",
];

const TLS_EXPECTED: &str =
    "the server expects TLS: use https:// in place of http:// in the server of the kubeconfig";

/// The longest body. A page of a list usually has a few MiB, but each of its objects may have 1.5 MiB.
const MAX_BODY: usize = 256 << 20;

/// Why the body of a response was not read.
#[derive(Debug)]
pub(super) enum BodyError {
    /// It is longer than [`MAX_BODY`].
    TooLong,
    /// The connection failed.
    Lost(kube::Error),
}

/// Why a body was not read, in plain words.
pub(super) const TOO_LONG: &str = "its response is longer than 256 MiB";

/// Reads the whole body of a response.
pub(super) async fn read_body(body: Body) -> Result<Bytes, BodyError> {
    read_body_up_to(body, MAX_BODY).await
}

async fn read_body_up_to(body: Body, limit: usize) -> Result<Bytes, BodyError> {
    let error = match Limited::new(body, limit).collect().await {
        Ok(collected) => return Ok(collected.to_bytes()),
        Err(error) => error,
    };
    if error.is::<LengthLimitError>() {
        return Err(BodyError::TooLong);
    }
    Err(BodyError::Lost(match error.downcast::<kube::Error>() {
        Ok(error) => *error,
        Err(other) => kube::Error::Service(other),
    }))
}

/// A response that was read to its end. `code` is `None` if there was no response; `lost` may have the cause.
#[derive(Default)]
pub(super) struct ApiResponse {
    pub(super) code: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    pub(super) lost: Option<LostConnection>,
}

impl ApiResponse {
    pub(super) fn is_success(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }

    pub(super) fn parse<T: DeserializeOwned>(
        &self,
        context: &classify::RequestContext<'_>,
    ) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Backend {
            backend: "k8s",
            operation: "parse a response of the API server",
            message: format!(
                "it is no valid response to {} {}",
                context.verb, context.resource
            ),
            transient: false,
            source: Some(Box::new(source)),
        })
    }

    /// The status object in the body. The error page of a proxy is not a Status and is ignored; the HTTP code
    /// is enough.
    pub(super) fn status(&self) -> Option<Status> {
        let code = self.code?;
        if code == 400 && self.is_from_tls_port() {
            return Some(Status {
                message: Some(TLS_EXPECTED.to_owned()),
                ..Status::default()
            });
        }
        serde_json::from_slice(&self.body).ok()
    }

    /// Whether a TLS server has responded to a request without TLS.
    fn is_from_tls_port(&self) -> bool {
        let page = String::from_utf8_lossy(&self.body);
        FROM_TLS_PORTS.iter().any(|sign| page.contains(sign))
    }

    pub(super) fn retry_after(&self) -> Option<Duration> {
        let seconds = self
            .headers
            .get(RETRY_AFTER)?
            .to_str()
            .ok()?
            .trim()
            .parse()
            .ok()?;
        Some(Duration::from_secs(seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(code: u16, body: &'static str) -> Option<String> {
        let response = ApiResponse {
            code: Some(code),
            body: body.into(),
            ..ApiResponse::default()
        };
        response.status()?.message
    }

    #[test]
    fn a_tls_port_is_named() {
        let expected = Some(TLS_EXPECTED.to_owned());
        let go = "Client sent an HTTP request to an HTTPS server.\n";
        assert_eq!(message(400, go), expected);
        let nginx = "<center>The plain HTTP request was sent to HTTPS port</center>";
        assert_eq!(message(400, nginx), expected);
        assert_eq!(message(403, go), None);
        assert_eq!(message(400, "<html>no</html>"), None);
        let status = r#"{"kind": "Status", "message": "no such field"}"#;
        assert_eq!(message(400, status), Some("no such field".to_owned()));
    }

    #[tokio::test]
    async fn a_body_is_read_up_to_a_limit() {
        let body = || Body::from(vec![b'x'; 100]);
        assert_eq!(read_body_up_to(body(), 100).await.unwrap().len(), 100);
        let refused = read_body_up_to(body(), 99).await;
        assert!(matches!(refused, Err(BodyError::TooLong)), "{refused:?}");
    }
}
