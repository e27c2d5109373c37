//! `/health`, `/metrics` and `/envs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use sandbox::{SandboxId, Usage};
use serde::Serialize;

use super::access::{authorize, find, open};
use super::failure::{Failure, explain};
use super::filesystem::entry::text;
use crate::api_error::port_closed;
use crate::app::App;
use crate::routing::ENVD_PORT;
use crate::sandboxes::Found;

/// How long a sandbox may take to say that it runs, which is less than E2B's SDKs wait.
const HEALTH_TIMEOUT: Duration = Duration::from_secs(4);

/// Answers whether the sandbox runs, to anybody.
pub(super) async fn health(app: &App, id: Option<&SandboxId>, head: &Parts) -> Response {
    let found = match id {
        Some(id) => find(app, id).await,
        None => authorize(app, id, &head.headers).await,
    };
    let found = match found {
        Ok(found) => found,
        Err(failure) => return failure.into_response(),
    };
    match tokio::time::timeout(HEALTH_TIMEOUT, check(app, &found)).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(failure)) => failure.into_response(),
        Err(_elapsed) => port_closed(&found.info.id, ENVD_PORT),
    }
}

/// Answers what the sandbox uses.
pub(super) async fn metrics(
    app: &Arc<App>,
    id: Option<&SandboxId>,
    head: &Parts,
) -> Result<Response, Failure> {
    let found = authorize(app, id, &head.headers).await?;
    let sandbox = open(app, &found).await?;
    match sandbox.usage().await {
        Ok(usage) => Ok(Json(Metrics::of(&usage)).into_response()),
        Err(error) => Err(explain(app, &found, error).await),
    }
}

/// Answers which variables commands get.
pub(super) async fn environment(
    app: &Arc<App>,
    id: Option<&SandboxId>,
    head: &Parts,
) -> Result<Response, Failure> {
    let found = authorize(app, id, &head.headers).await?;
    let sandbox = open(app, &found).await?;
    match sandbox.environment().await {
        Ok(variables) => {
            let variables: BTreeMap<_, _> = variables
                .iter()
                .map(|(name, value)| (text(name), text(value)))
                .collect();
            Ok(Json(variables).into_response())
        }
        Err(error) => Err(explain(app, &found, error).await),
    }
}

/// Bytes of a mebibyte.
const MIB: u64 = 1 << 20;

/// What E2B's daemon says about what it uses.
#[derive(Debug, PartialEq, Serialize)]
struct Metrics {
    ts: u64,
    cpu_count: u32,
    cpu_used_pct: f64,
    mem_total: u64,
    mem_used: u64,
    mem_cache: u64,
    mem_total_mib: u64,
    mem_used_mib: u64,
    disk_used: u64,
    disk_total: u64,
}

impl Metrics {
    fn of(usage: &Usage) -> Self {
        Self {
            ts: usage.at_ms / 1000,
            cpu_count: usage.cpu_count,
            cpu_used_pct: usage.cpu_percent,
            mem_total: usage.memory_total,
            mem_used: usage.memory_used,
            mem_cache: usage.memory_cache,
            mem_total_mib: usage.memory_total / MIB,
            mem_used_mib: usage.memory_used / MIB,
            disk_used: usage.disk_used,
            disk_total: usage.disk_total,
        }
    }
}

async fn check(app: &App, found: &Found) -> Result<(), Failure> {
    // To ask is no reason to resume it.
    if found.info.is_paused(SystemTime::now()) {
        return Err(Failure::Gone(found.info.id.to_string()));
    }
    let sandbox = open(app, found).await?;
    // A paused sandbox answers too, but refuses this.
    match sandbox.processes().list().await {
        Ok(_) => Ok(()),
        Err(error) => Err(explain(app, found, error).await),
    }
}
