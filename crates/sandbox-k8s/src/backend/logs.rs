//! The log of a sandbox's server.

use std::time::Duration;

use futures_util::StreamExt;
use http_body_util::BodyExt;
use sandbox_core::{Deadline, Error, LogOptions, LogStream, Result, SandboxId};
use tokio::time::{Instant, sleep};

use super::shared::Shared;
use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::watch_error::WatchError;
use crate::api::watch_requests::LogQuery;
use crate::names::{BACKEND, CONTAINER};

/// How long the API server may report that a container has not started. A kubelet of 1.20 reports the start only
/// every ten seconds, while the sandbox is already in use.
const START_REPORT_TIMEOUT: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(250);

/// Opens the log of a sandbox's container. A Pod of the same name that is no sandbox has no log.
pub(super) async fn logs(
    shared: &Shared,
    id: &SandboxId,
    options: LogOptions,
) -> Result<LogStream> {
    let query = LogQuery {
        container: CONTAINER,
        tail_lines: options.tail_lines,
        limit_bytes: None,
        follow: options.follow,
    };
    // The API server would send the log of any Pod.
    shared.find(id).await?;
    open_log(shared, id, query).await
}

/// Reads the end of a container's log: at most `lines` lines, and of these at most `bytes` bytes from
/// the first. Cut text is marked.
pub(super) async fn read_log_tail(
    shared: &Shared,
    id: &SandboxId,
    container: &str,
    lines: usize,
    bytes: usize,
) -> Result<String> {
    let query = LogQuery {
        container,
        tail_lines: Some(lines),
        // One byte more shows that there is more.
        limit_bytes: Some(bytes.saturating_add(1)),
        follow: false,
    };
    let mut log = open_log(shared, id, query).await?;
    let mut text = Vec::new();
    // An API server that ignores the limit is not read further either.
    while text.len() <= bytes
        && let Some(chunk) = log.next().await
    {
        text.extend_from_slice(&chunk?);
    }
    let is_cut = text.len() > bytes;
    text.truncate(bytes);
    let mut text = String::from_utf8_lossy(&text).into_owned();
    if is_cut {
        text.push_str("\n[the rest of these lines is not shown]");
    }
    Ok(text)
}

async fn open_log(shared: &Shared, id: &SandboxId, query: LogQuery<'_>) -> Result<LogStream> {
    let api = shared.api();
    let request = api.log_request(id, &query)?;
    let started = Instant::now();
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    loop {
        let error = match api.open(request.clone(), deadline).await {
            Ok(response) => {
                let chunks = response.into_body().into_data_stream();
                return Ok(Box::pin(chunks.map(|chunk| {
                    chunk.map_err(|error| read_error(error.to_string()))
                })));
            }
            Err(error) => error,
        };
        match error.code {
            Some(404) => return Err(Error::NotFound { id: id.clone() }),
            Some(400) if is_starting(&error) && started.elapsed() < START_REPORT_TIMEOUT => {
                sleep(PAUSE).await
            }
            Some(401 | 403) if error.is_final() => return Err(permission_error(shared, &error)),
            Some(401 | 403) if deadline.remaining() > PAUSE => {
                sleep(
                    error
                        .retry_after()
                        .unwrap_or(PAUSE)
                        .min(deadline.remaining()),
                )
                .await;
            }
            _ => return Err(read_error(error.to_string())),
        }
    }
}

/// Whether the container is about to start, and has no problem.
fn is_starting(error: &WatchError) -> bool {
    let message = error.to_string();
    ["ContainerCreating", "PodInitializing"]
        .iter()
        .any(|reason| message.ends_with(reason))
}

fn permission_error(shared: &Shared, error: &WatchError) -> Error {
    let context = classify::RequestContext {
        intent: Intent::Read,
        verb: "get",
        resource: "pods/log",
        namespace: &shared.api().namespace,
        id: None,
        attempt: 0,
    };
    match classify::classify(
        &context,
        &FailedResponse {
            code: error.code,
            ..FailedResponse::default()
        },
    ) {
        NextStep::Denied(failure) | NextStep::Permanent(failure) => failure.error,
        _ => read_error(error.to_string()),
    }
}

fn read_error(message: String) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation: "read a log",
        message,
        transient: true,
        source: None,
    }
}
