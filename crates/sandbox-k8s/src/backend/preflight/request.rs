//! Requests of the preflight checks.

use std::time::Duration;

use http::Request;
use sandbox_core::{Deadline, Result};
use serde::de::DeserializeOwned;

use crate::api::classify::Intent;
use crate::api::client::Operation;
use crate::api::failure::Failure;
use crate::api::objects::request_error;
use crate::backend::shared::Shared;

/// Timeout of each request.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(super) async fn get<T: DeserializeOwned>(
    shared: &Shared,
    url: &str,
    resource: &'static str,
) -> Result<T, Failure> {
    send(shared, Request::get(url).body(Vec::new()), "get", resource).await
}

pub(super) async fn send<T: DeserializeOwned>(
    shared: &Shared,
    request: Result<Request<Vec<u8>>, http::Error>,
    verb: &'static str,
    resource: &'static str,
) -> Result<T, Failure> {
    let request = request.map_err(request_error)?;
    // A review changes nothing, so it is retried like a read.
    let operation = Operation {
        intent: Intent::Read,
        verb,
        resource,
        id: None,
    };
    Ok(shared
        .api()
        .read(&operation, &request, Deadline::from_now(TIMEOUT))
        .await?
        .0)
}
