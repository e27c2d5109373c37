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

/// A sandbox is used before its kubelet has told that its container runs, which one of 1.20 does
/// every ten seconds; until then the API server knows of no log.
const TOLD_LATE: Duration = Duration::from_secs(12);
const PAUSE: Duration = Duration::from_millis(250);

pub(super) async fn logs(
    shared: &Shared,
    id: &SandboxId,
    options: LogOptions,
) -> Result<LogStream> {
    let api = shared.api();
    let request = api.log_request(id, options.tail_lines, options.follow)?;
    let (begun, deadline) = (Instant::now(), Deadline::from_now(LOOKUP_TIMEOUT));
    loop {
        let refused = match api.open(request.clone(), deadline).await {
            Ok(response) => {
                let pieces = response.into_body().into_data_stream();
                return Ok(Box::pin(
                    pieces.map(|piece| piece.map_err(|error| unread(error.to_string()))),
                ));
            }
            Err(refused) => refused,
        };
        match refused.code {
            Some(404) => return Err(Error::NotFound { id: id.clone() }),
            Some(400) if is_about_to_run(&refused) && begun.elapsed() < TOLD_LATE => {
                sleep(PAUSE).await
            }
            Some(401 | 403) if refused.is_final() => return Err(denied(shared, &refused)),
            Some(401 | 403) if deadline.remaining() > PAUSE => {
                sleep(
                    refused
                        .retry_after()
                        .unwrap_or(PAUSE)
                        .min(deadline.remaining()),
                )
                .await;
            }
            _ => return Err(unread(refused.to_string())),
        }
    }
}

/// Nothing stands in its way, as far as is known.
fn is_about_to_run(refused: &WatchError) -> bool {
    let said = refused.to_string();
    ["ContainerCreating", "PodInitializing"]
        .iter()
        .any(|reason| said.ends_with(reason))
}

fn denied(shared: &Shared, refused: &WatchError) -> Error {
    let about = classify::RequestContext {
        intent: Intent::Read,
        verb: "get",
        resource: "pods/log",
        namespace: &shared.api().namespace,
        id: None,
        attempt: 0,
    };
    match classify::classify(
        &about,
        &FailedResponse {
            code: refused.code,
            ..FailedResponse::default()
        },
    ) {
        NextStep::Denied(error) | NextStep::Permanent(error) => error,
        _ => unread(refused.to_string()),
    }
}

fn unread(message: String) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation: "read a log",
        message,
        transient: true,
        source: None,
    }
}
