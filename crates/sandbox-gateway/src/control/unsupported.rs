//! What E2B's API has and this server has not. Each is said in words, so that a program fails with a reason.

use std::sync::Arc;

use axum::extract::{Extension, Path, State};

use super::access;
use super::failure::ApiResult;
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;

const NO_COPY: &str = "a backend cannot copy the files of a sandbox yet";

/// `POST /sandboxes/{id}/snapshots`.
pub(super) async fn snapshot(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    id: Path<String>,
) -> ApiResult<()> {
    of_sandbox(app, caller, id, "a snapshot", NO_COPY).await
}

/// `POST /sandboxes/{id}/fork`.
pub(super) async fn fork(
    app: State<Arc<App>>,
    caller: Extension<Caller>,
    id: Path<String>,
) -> ApiResult<()> {
    of_sandbox(app, caller, id, "a fork", NO_COPY).await
}

/// `GET /snapshots`.
pub(super) async fn snapshots() -> ApiError {
    ApiError::unsupported("a list of snapshots", "it makes none")
}

/// Everything about builds of templates.
pub(super) async fn builds() -> ApiError {
    ApiError::unsupported(
        "building templates",
        "they are container images that its configuration names",
    )
}

/// Everything about volumes.
pub(super) async fn volumes() -> ApiError {
    ApiError::unsupported("a volume", "it has none")
}

/// Everything about secrets.
pub(super) async fn secrets() -> ApiError {
    ApiError::unsupported("a stored secret", "it has none; pass values in envVars")
}

/// Everything about teams and keys.
pub(super) async fn administration() -> ApiError {
    ApiError::unsupported(
        "administration by the API",
        "keys are in a file of its operator",
    )
}

/// The sandbox must be the caller's, so that others do not learn that it exists.
async fn of_sandbox(
    State(app): State<Arc<App>>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    feature: &str,
    why: &str,
) -> ApiResult<()> {
    access::find(&app, &caller, &id).await?;
    Err(ApiError::unsupported(feature, why))
}
