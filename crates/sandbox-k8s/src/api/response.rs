//! An answer as it came.

use std::time::Duration;

use http::HeaderMap;
use http::header::RETRY_AFTER;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use sandbox_core::{Error, Result};
use serde::de::DeserializeOwned;

use crate::api::classify;

/// What came of one attempt. Without a code there was no answer, and perhaps it is known why.
#[derive(Default)]
pub(super) struct ApiResponse {
    pub(super) code: Option<u16>,
    pub(super) headers: HeaderMap,
    pub(super) body: bytes::Bytes,
    pub(super) lost: Option<kube::Error>,
}

impl ApiResponse {
    pub(super) fn is_success(&self) -> bool {
        self.code.is_some_and(|code| (200..300).contains(&code))
    }

    pub(super) fn read<T: DeserializeOwned>(&self, about: &classify::Request<'_>) -> Result<T> {
        serde_json::from_slice(&self.body).map_err(|source| Error::Backend {
            backend: "k8s",
            operation: "read an answer of the API server",
            message: format!(
                "it is not what {} of {} should answer",
                about.verb, about.resource
            ),
            transient: false,
            source: Some(Box::new(source)),
        })
    }

    /// A proxy's page is no status; its text says nothing that the code does not.
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
