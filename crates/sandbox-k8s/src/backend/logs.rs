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
use crate::names::BACKEND;

/// How long the API server may report that a container has not started. A kubelet of 1.20 reports the start only
/// every ten seconds, while the sandbox is already in use.
const START_REPORT_TIMEOUT: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(250);

/// Opens the log of a sandbox's container.
pub(super) async fn logs(
    shared: &Shared,
    id: &SandboxId,
    options: LogOptions,
) -> Result<LogStream> {
    let api = shared.api();
    let request = api.log_request(id, options.tail_lines, options.follow)?;
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
        NextStep::Denied(error) | NextStep::Permanent(error) => error,
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
