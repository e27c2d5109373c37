//! What sandboxes use.

use std::sync::Arc;
use std::time::SystemTime;

use axum::Json;
use axum::extract::{Extension, Path, RawQuery, State};
use futures_util::StreamExt;
use futures_util::stream;
use sandbox::{Error, Usage};
use serde_json::{Map, Value, json};

use super::access;
use super::failure::{ApiResult, Described};
use super::query::Query;
use super::time::{format_time, from_micros, seconds};
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;
use crate::sandboxes::Owned;

/// How many sandboxes are asked at once for one request, and at most in all.
const CONCURRENCY: usize = 16;
const MAX_SANDBOXES: usize = 100;

/// `GET /sandboxes/{id}/metrics`: what it uses now, if that is in the interval that is asked for. Nothing is recorded, so
/// there is nothing about the past.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Vec<Value>>> {
    let query = Query::parse(query.as_deref())?;
    let (start, end) = (query.number("start")?, query.number("end")?);
    let sandbox = access::find(&app, &caller, &id).await?;
    let now = seconds(SystemTime::now());
    let is_asked =
        |time: u64| start.is_none_or(|start| time >= start) && end.is_none_or(|end| time <= end);
    if !is_asked(now) {
        return Ok(Json(Vec::new()));
    }
    let measured = measure(&app, &sandbox).await?;
    Ok(Json(
        measured
            .into_iter()
            .filter(|usage| is_asked(usage.at_ms / 1000))
            .map(|usage| view(&usage))
            .collect(),
    ))
}

/// `GET /sandboxes/metrics?sandbox_ids=…`: the same for several. Those that do not exist, or do not answer, are left out.
pub(super) async fn show_several(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Value>> {
    let query = Query::parse(query.as_deref())?;
    let ids: Vec<String> = query
        .list("sandbox_ids")
        .into_iter()
        .map(str::to_owned)
        .collect();
    if ids.len() > MAX_SANDBOXES {
        return Err(ApiError::bad_request(format!(
            "sandbox_ids has more than {MAX_SANDBOXES} ids"
        )));
    }
    let found: Map<String, Value> = stream::iter(ids)
        .map(|id| async {
            let sandbox = access::find(&app, &caller, &id).await.ok()?;
            let usage = measure(&app, &sandbox).await.ok()??;
            Some((id, view(&usage)))
        })
        .buffer_unordered(CONCURRENCY)
        .filter_map(|found| async { found })
        .collect()
        .await;
    Ok(Json(json!({ "sandboxes": found })))
}

/// Asks a sandbox. `None` if it is paused, or if its server cannot say.
async fn measure(app: &App, sandbox: &Owned) -> ApiResult<Option<Usage>> {
    if sandbox.is_paused(SystemTime::now()) {
        return Ok(None);
    }
    let handle = app.sandboxes.open_owned(sandbox).await.described()?;
    match handle.usage().await {
        Ok(usage) => Ok(Some(usage)),
        Err(Error::Unsupported(_) | Error::Refused(_)) => Ok(None),
        Err(error) => Err(error).described(),
    }
}

fn view(usage: &Usage) -> Value {
    let time = from_micros(usage.at_ms.saturating_mul(1000));
    json!({
        "timestamp": format_time(time),
        "timestampUnix": usage.at_ms / 1000,
        "cpuCount": usage.cpu_count,
        "cpuUsedPct": usage.cpu_percent,
        "memUsed": usage.memory_used,
        "memTotal": usage.memory_total,
        "memCache": usage.memory_cache,
        "diskUsed": usage.disk_used,
        "diskTotal": usage.disk_total,
    })
}
