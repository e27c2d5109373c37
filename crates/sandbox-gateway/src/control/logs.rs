//! The log of a sandbox's server.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, RawQuery, State};
use futures_util::StreamExt;
use sandbox::LogOptions;
use serde_json::{Value, json};

use super::access;
use super::failure::{ApiResult, Described};
use super::query::Query;
use super::time::{format_time, parse_time};
use crate::app::App;
use crate::keys::Caller;

/// The greatest number of lines, which is also the default.
const MAX_LINES: u64 = 1000;
/// The greatest number of bytes: a log comes from a sandbox.
const MAX_BYTES: usize = 1024 * 1024;

/// `GET /sandboxes/{id}/logs` and `GET /v2/sandboxes/{id}/logs`: the last lines. Both forms are in the response, because
/// the names of their fields do not overlap.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    RawQuery(query): RawQuery,
) -> ApiResult<Json<Value>> {
    let query = Query::parse(query.as_deref())?;
    let limit = query
        .number("limit")?
        .unwrap_or(MAX_LINES)
        .clamp(1, MAX_LINES);
    let sandbox = access::find(&app, &caller, &id).await?;
    let mut options = LogOptions::default();
    options.tail_lines = usize::try_from(limit).ok();
    let mut log = app
        .sandboxes
        .client()
        .logs(&sandbox.info.id, options)
        .await
        .described()?;
    let mut bytes = Vec::new();
    while let Some(part) = log.next().await {
        let part = part.described()?;
        let room = MAX_BYTES - bytes.len();
        bytes.extend_from_slice(&part[..part.len().min(room)]);
        if part.len() >= room {
            break;
        }
    }
    let started_at = format_time(sandbox.started_at());
    let entries: Vec<Value> = String::from_utf8_lossy(&bytes)
        .lines()
        .map(|line| {
            // Some backends begin a line with its time.
            let (time, message) = line.split_once(' ').filter(|(time, _)| parse_time(time).is_some()).unwrap_or((&started_at, line));
            json!({ "timestamp": time, "line": message, "message": message, "level": "info", "fields": {} })
        })
        .collect();
    Ok(Json(json!({ "logs": entries, "logEntries": entries })))
}
