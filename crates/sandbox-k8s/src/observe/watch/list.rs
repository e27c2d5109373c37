//! The list of all sandboxes, with which each watch begins.
//!
//! It is requested in pages, or received as the first events of the watch itself where the API server offers
//! that, which costs the server less memory than any list.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#streaming-lists>

use std::collections::BTreeMap;
use std::time::Duration;

use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use kube::core::WatchEvent;
use sandbox_core::{Deadline, Uid};
use tokio::time::Instant;

use super::lines::Lines;
use super::pace::Pace;
use super::state::{Shared, now};
use crate::api::client::{ApiClient, LOOKUP_TIMEOUT};
use crate::api::pages::PAGE_SIZE;
use crate::api::watch_error::WatchError;
use crate::manifest::labels;
use crate::observe::index::Event;
use crate::observe::status::managed_view;

/// The annotation of the bookmark that ends the initial events.
const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// A complete list.
pub(super) struct Listed {
    /// The version from which a watch continues.
    pub(super) version: String,
    /// The watch that has delivered the list, and delivers what follows.
    pub(super) lines: Option<Lines>,
}

/// Lists all sandboxes.
pub(super) struct Lister {
    /// Whether the API server may stream lists, as far as is known.
    may_stream: bool,
}

impl Default for Lister {
    fn default() -> Self {
        Self { may_stream: true }
    }
}

impl Lister {
    /// Lists all sandboxes. Only a list that is known to be long is worth the request that finds out whether the
    /// API server streams lists. One that has failed to is asked for pages from then on.
    pub(super) async fn list(
        &mut self,
        api: &ApiClient,
        shared: &Shared,
        watch_timeout: Duration,
    ) -> Result<Listed, WatchError> {
        let is_long = shared.lock().index.len() > PAGE_SIZE as usize;
        if is_long && self.may_stream {
            match stream_list(api, shared, watch_timeout).await {
                Ok(listed) => return Ok(listed),
                Err(error) => {
                    tracing::debug!(%error, "the API server streams no list; listing in pages");
                    self.may_stream = false;
                    if !error.may_reject_version() {
                        return Err(error);
                    }
                }
            }
        }
        list_pages(api, shared).await
    }
}

/// Requests page after page. A page that fails is requested again, but those before it are not. If the rest of
/// the list has expired, the error is that, and the caller lists anew.
async fn list_pages(api: &ApiClient, shared: &Shared) -> Result<Listed, WatchError> {
    shared.update(|index| index.apply(Event::Init, now()));
    let selector = labels::selector();
    let (mut continuation, mut pace) = (None::<String>, Pace::default());
    loop {
        let began = Instant::now();
        let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
        let requested = api
            .list_page::<Pod>(&selector, continuation.as_deref(), deadline)
            .await;
        let page = match requested {
            Ok(page) => page,
            Err(error) if continuation.is_some() && error.is_passing() => {
                pace.failed_since.get_or_insert(began);
                if pace.has_failed_long() {
                    return Err(error);
                }
                tracing::debug!(%error, "page of a list not received; retrying");
                pace.wait(error.retry_after()).await;
                continue;
            }
            Err(error) => return Err(error),
        };
        pace = Pace::default();
        continuation = page.continuation();
        let version = page.version();
        for pod in page.into_items() {
            if let Some(view) = managed_view(&pod) {
                shared.update(|index| index.apply(Event::InitApply(view), now()));
            }
        }
        if continuation.is_none() {
            shared.update(|index| index.apply(Event::InitDone, now()));
            return Ok(Listed {
                version,
                lines: None,
            });
        }
    }
}

/// Receives the list as the first events of a watch.
async fn stream_list(
    api: &ApiClient,
    shared: &Shared,
    watch_timeout: Duration,
) -> Result<Listed, WatchError> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let body = api
        .open_watch_with_list::<Pod>(&labels::selector(), watch_timeout, deadline)
        .await?;
    let mut lines = Lines::new(body.into_data_stream());
    shared.update(|index| index.apply(Event::Init, now()));
    loop {
        // A server that does not know the option never ends the list.
        let line = match tokio::time::timeout(LOOKUP_TIMEOUT, lines.next()).await {
            Ok(Ok(Some(line))) => line,
            Ok(Ok(None)) => return Err(incomplete("the watch has ended")),
            Ok(Err(error)) => return Err(incomplete(error)),
            Err(_elapsed) => return Err(incomplete("no event in time")),
        };
        let event = match serde_json::from_slice::<WatchEvent<Pod>>(&line) {
            Ok(WatchEvent::Added(pod) | WatchEvent::Modified(pod)) => {
                managed_view(&pod).map(Event::InitApply)
            }
            Ok(WatchEvent::Deleted(pod)) => {
                pod.metadata.uid.map(|uid| Event::Delete(Uid::new(uid)))
            }
            Ok(WatchEvent::Bookmark(mark)) if ends_list(&mark.metadata.annotations) => {
                shared.update(|index| index.apply(Event::InitDone, now()));
                return Ok(Listed {
                    version: mark.metadata.resource_version,
                    lines: Some(lines),
                });
            }
            Ok(WatchEvent::Bookmark(_)) => None,
            Ok(WatchEvent::Error(status)) => return Err(WatchError::from_status(&status)),
            Err(error) => return Err(incomplete(error)),
        };
        if let Some(event) = event {
            shared.update(|index| index.apply(event, now()));
        }
    }
}

fn ends_list(annotations: &BTreeMap<String, String>) -> bool {
    annotations
        .get(INITIAL_EVENTS_END)
        .is_some_and(|value| value == "true")
}

fn incomplete(why: impl std::fmt::Display) -> WatchError {
    WatchError::from_error(format_args!("the list is incomplete: {why}"))
}
