//! Requests about one sandbox: what it is, when it ends, and its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Json;
use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;

use super::failure::{ApiResult, Described, describe};
use super::model::{Connectable, Detail};
use super::{access, body};
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;
use crate::sandboxes::Owned;
use crate::sandboxes::record::OnTimeout;

/// How long a caller waits for a deletion. On a cluster one can take half a minute.
const DELETION_WAIT: Duration = Duration::from_secs(20);
/// The timeout of requests that may leave it out.
const DEFAULT_TIMEOUT: i64 = 300;

/// `GET /sandboxes/{id}`.
pub(super) async fn show(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> ApiResult<Json<Detail>> {
    let sandbox = access::find(&app, &caller, &id).await?;
    Ok(Json(Detail::new(&app, &sandbox)))
}

/// `DELETE /sandboxes/{id}`. The deletion goes on if the caller leaves.
pub(super) async fn kill(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> ApiResult<StatusCode> {
    let sandbox = access::find(&app, &caller, &id).await?;
    let owner = Arc::clone(&app);
    let deletion = app
        .tasks
        .spawn(async move { owner.sandboxes.delete(&sandbox.info).await });
    tokio::select! {
        deleted = tokio::time::timeout(DELETION_WAIT, deletion) => match deleted {
            Ok(Ok(deleted)) => deleted.described()?,
            Ok(Err(_panicked)) => {
                return Err(ApiError::internal("the deletion was interrupted; retry"));
            }
            // It has begun, and is logged if it fails.
            Err(_elapsed) => {}
        },
        error = app.sandboxes.detect_absence("delete the sandbox") => return Err(describe(&error)),
    }
    Ok(StatusCode::NO_CONTENT)
}

/// A request with a timeout in seconds.
#[derive(Debug, Deserialize)]
struct TimeoutRequest {
    timeout: i64,
}

/// `POST /sandboxes/{id}/timeout`: sets the end, also to an earlier time.
pub(super) async fn set_timeout(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<StatusCode> {
    let TimeoutRequest { timeout } = body::parse(&body)?;
    let sandbox = access::find(&app, &caller, &id).await?;
    if sandbox.is_paused(SystemTime::now()) {
        return Err(ApiError::no_sandbox(&id));
    }
    let handle = open(&app, &sandbox).await?;
    if timeout <= 0 && sandbox.record.lifecycle.on_timeout == OnTimeout::Pause {
        handle.pause().await.described()?;
        return Ok(StatusCode::NO_CONTENT);
    }
    // What is over is over at once.
    handle.set_ttl(seconds(timeout.max(0))).await.described()?;
    Ok(StatusCode::NO_CONTENT)
}

/// A request to last longer.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Refresh {
    duration: Option<i64>,
}

/// `POST /sandboxes/{id}/refreshes`: postpones the end, as old clients do all the time.
pub(super) async fn refresh(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<StatusCode> {
    let Refresh { duration } = body::parse(&body)?;
    let duration = positive("duration", duration.unwrap_or(60))?;
    let sandbox = access::find(&app, &caller, &id).await?;
    let handle = open(&app, &sandbox).await?;
    handle.extend(duration).await.described()?;
    Ok(StatusCode::NO_CONTENT)
}

/// A request to connect.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ConnectRequest {
    timeout: Option<i64>,
    memory: Option<bool>,
}

/// `POST /v2/sandboxes/{id}/connect`, `POST /sandboxes/{id}/connect` and `POST /sandboxes/{id}/resume`: resumes the
/// sandbox if it is paused, and makes it last for the timeout at least.
pub(super) async fn connect(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<(StatusCode, Json<Connectable>)> {
    let ConnectRequest { timeout, memory } = body::parse(&body)?;
    let timeout = positive("timeout", timeout.unwrap_or(DEFAULT_TIMEOUT))?;
    if memory == Some(false) {
        return Err(ApiError::bad_request(
            "memory: false is not supported by this server: a sandbox cannot be started anew from its files",
        ));
    }
    let sandbox = access::find(&app, &caller, &id).await?;
    let status = resume_or_extend(&app, &sandbox, timeout).await?;
    Ok((status, Json(Connectable::new(&app, &sandbox))))
}

/// Returns 201 if the sandbox was resumed, and 200 if it ran already.
async fn resume_or_extend(app: &App, sandbox: &Owned, timeout: Duration) -> ApiResult<StatusCode> {
    let handle = open(app, sandbox).await?;
    if sandbox.is_paused(SystemTime::now()) && handle.resume(Some(timeout)).await.described()? {
        return Ok(StatusCode::CREATED);
    }
    handle.extend(timeout).await.described()?;
    Ok(StatusCode::OK)
}

/// A request to pause.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PauseRequest {
    memory: Option<bool>,
}

/// `POST /sandboxes/{id}/pause`.
pub(super) async fn pause(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Bytes,
) -> ApiResult<StatusCode> {
    let PauseRequest { memory } = body::parse(&body)?;
    if memory == Some(false) {
        return Err(ApiError::bad_request(
            "memory: false is not supported by this server: a pause keeps the memory; leave it out",
        ));
    }
    let sandbox = access::find(&app, &caller, &id).await?;
    let is_paused_now = !sandbox.is_paused(SystemTime::now())
        && open(&app, &sandbox).await?.pause().await.described()?;
    if is_paused_now {
        return Ok(StatusCode::NO_CONTENT);
    }
    let message = format!("sandbox {id} is already paused");
    Err(ApiError::new(StatusCode::CONFLICT, message))
}

/// Connects to a sandbox, or returns the connection that there is.
pub(super) async fn open(app: &App, sandbox: &Owned) -> ApiResult<sandbox::Sandbox> {
    app.sandboxes.open_owned(sandbox).await.described()
}

/// A number of seconds above zero.
pub(super) fn positive(name: &str, value: i64) -> ApiResult<Duration> {
    if value <= 0 {
        return Err(ApiError::bad_request(format!(
            "{name} must be a number of seconds above zero"
        )));
    }
    Ok(seconds(value))
}

/// At most a hundred years, so that adding it to a time cannot overflow.
fn seconds(value: i64) -> Duration {
    const CENTURY: u64 = 100 * 365 * 24 * 60 * 60;
    Duration::from_secs(value.unsigned_abs().min(CENTURY))
}
