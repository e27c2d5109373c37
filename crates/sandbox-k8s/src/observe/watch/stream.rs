//! The list of all sandboxes, and the watch that continues from it.
//!
//! kube has a watcher that does the same. This one also
//!
//! * bounds each request by a deadline,
//! * reads the API server's clock, and obeys its `Retry-After`,
//! * lists anew after a 410 in either of its forms, and when a restored etcd is behind the version
//!   that the watch has reached,
//! * backs off when watches are closed as soon as they begin.

use std::time::Duration;

use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::WatchEvent;
use sandbox_core::{Deadline, Uid, metrics};
use tokio::time::Instant;

use super::lines::Lines;
use super::list::{Listed, Lister};
use super::pace::Pace;
use super::state::{Shared, now};
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::api::watch_error::WatchError;
use crate::manifest::labels;
use crate::observe::index::Event;
use crate::observe::status::managed_view;

/// The timeout that each request sets for a watch.
const WATCH_TIMEOUT: Duration = Duration::from_secs(290);
/// A connection without data for this long is dead, because there is a bookmark each minute.
const SILENCE_TIMEOUT: Duration = Duration::from_secs(100);
/// A watch that ends sooner counts as a failure.
const MIN_DURATION: Duration = Duration::from_secs(5);
/// The interval at which a forbidden watch is retried, because the right may be granted.
const FORBIDDEN_INTERVAL: Duration = Duration::from_secs(30);

/// How a watch ended.
enum End {
    /// It was closed, as each watch is from time to time. The next one continues from its position.
    Closed,
    /// The events since its position are lost, so that a new list is needed.
    Expired,
    /// It could not be opened.
    Failed(WatchError),
}

/// The position of the watch.
struct Position {
    version: String,
    /// Whether a watch from this version or an earlier one was accepted. If the first watch after a list
    /// is refused, the version is not the cause.
    was_accepted: bool,
    /// The watch that has delivered the list, if it was streamed.
    lines: Option<Lines>,
}

/// Lists and watches for ever.
pub(super) async fn list_and_watch(api: &ApiClient, shared: &Shared) {
    let (mut pace, mut lister) = (Pace::default(), Lister::default());
    let mut position = None;
    loop {
        let began = Instant::now();
        let end = match position.take() {
            None => match lister.list(api, shared, WATCH_TIMEOUT).await {
                Ok(Listed { version, lines }) => {
                    position = Some(Position {
                        version,
                        was_accepted: false,
                        lines,
                    });
                    continue;
                }
                Err(error) => End::Failed(error),
            },
            Some(mut at_position) => {
                let end = watch(api, shared, &mut at_position, &mut pace).await;
                position = (!matches!(end, End::Expired)).then_some(at_position);
                end
            }
        };
        metrics::count_watch_restart(match &end {
            End::Closed => "over",
            End::Expired => "expired",
            End::Failed(_) => "refused",
        });
        match end {
            End::Closed | End::Expired if began.elapsed() >= MIN_DURATION => pace.failures = 0,
            End::Closed | End::Expired => pace.wait(None).await,
            End::Failed(error) => {
                tracing::debug!(%error, failures = pace.failures, "watch interrupted; retrying");
                pace.failed_since.get_or_insert(began);
                if error.is_final() {
                    shared.update(|index| index.apply(Event::Forbidden(error.to_string()), now()));
                    pace.failures = 0;
                    tokio::time::sleep(FORBIDDEN_INTERVAL).await;
                    continue;
                } else if pace.has_failed_long() {
                    shared.update(|index| index.apply(Event::Failed(error.to_string()), now()));
                }
                pace.wait(error.retry_after()).await;
            }
        }
    }
}

async fn watch(api: &ApiClient, shared: &Shared, position: &mut Position, pace: &mut Pace) -> End {
    let mut lines = match position.lines.take() {
        Some(lines) => lines,
        None => match open(api, &position.version).await {
            Ok(lines) => lines,
            Err(error) => return position.classify(error),
        },
    };
    pace.failed_since = None;
    position.was_accepted = true;
    let mut silent = true;
    shared.update(|index| index.apply(Event::WatchStarted, now()));
    loop {
        let line = match tokio::time::timeout(SILENCE_TIMEOUT, lines.next()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return End::Closed,
            // A watch from a version in the future delivers nothing, not even a bookmark.
            Err(_elapsed) if silent => return End::Expired,
            Err(_elapsed) => return End::Closed,
            Ok(Err(error)) => {
                tracing::debug!(%error, "watch connection lost");
                api.outage.record();
                return End::Closed;
            }
        };
        silent = false;
        shared.lock().last_event_at = Some(now());
        let (pod, event) = match serde_json::from_slice::<WatchEvent<Pod>>(&line) {
            Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                let event = managed_view(&pod).map(Event::Apply);
                (pod.metadata, event)
            }
            Ok(WatchEvent::Deleted(pod)) => {
                let event = pod
                    .metadata
                    .uid
                    .as_deref()
                    .map(|uid| Event::Delete(Uid::new(uid)));
                (pod.metadata, event)
            }
            Ok(WatchEvent::Bookmark(mark)) => {
                position.version = mark.metadata.resource_version;
                continue;
            }
            Ok(WatchEvent::Error(status)) => {
                return position.classify(WatchError::from_status(&status));
            }
            Err(error) => {
                // The event is lost, so that a new list is needed.
                tracing::debug!(%error, "watch delivered an invalid line");
                return End::Expired;
            }
        };
        position.version = pod.resource_version.unwrap_or_default();
        pace.failures = 0;
        if let Some(event) = event {
            shared.update(|index| index.apply(event, now()));
        }
    }
}

async fn open(api: &ApiClient, version: &str) -> Result<Lines, WatchError> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let body = api
        .open_watch::<Pod>(&labels::selector(), version, WATCH_TIMEOUT, deadline)
        .await?;
    Ok(Lines::new(body.into_data_stream()))
}

impl Position {
    /// Returns whether a refusal is about this position or about something else.
    fn classify(&self, error: WatchError) -> End {
        if error.code == Some(410) || self.was_accepted && error.may_reject_version() {
            return End::Expired;
        }
        End::Failed(error)
    }
}
