//! The response to one attempt of a request.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::api::classify;
use crate::api::lost::LostConnection;

/// A response that was read to its end. `code` is `None` if there was no response; `lost` may have the cause.
#[derive(Default)]
pub(super) struct ApiResponse {
    pub(super) code: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: bytes::Bytes,
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
        self.code
            .and_then(|_| serde_json::from_slice(&self.body).ok())
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
