//! Watches, which send a line of JSON for each event.
//! <https://kubernetes.io/docs/reference/using-api/api-concepts/#efficient-detection-of-changes>

use std::collections::VecDeque;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http::Response;
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::{Value, json};
use tokio::sync::watch::Receiver;
use tokio::time::{Instant, timeout_at};

use super::fault::Fault;
use super::request::ParsedRequest;
use super::response::{ApiResponse, Body, ConnectionCut, http_response};
use super::selector::Selector;
use super::server::ApiServer;

/// The interval of bookmarks in a watch without events.
const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// The duration of a watch that requests none.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(1800);

/// Starts a watch.
pub(super) fn start(
    server: &ApiServer,
    request: ParsedRequest,
    fault: Option<Fault>,
) -> Response<Body> {
    let number = |key: &str| {
        request
            .query
            .get(key)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let Some(selector) = Selector::from_query(&request.query) else {
        let response = ApiResponse::failure(
            400,
            "BadRequest",
            "unable to parse requirement of the selector",
        );
        return response.into_response(server.current_time());
    };
    let is_set = |key: &str| request.query.get(key).is_some_and(|value| value == "true");
    let begins_with_list = is_set("sendInitialEvents");
    if begins_with_list && !server.lock().streams_lists {
        let message = "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for watch unless the WatchList \
                       feature gate is enabled";
        let response = ApiResponse::failure(422, "Invalid", message);
        return response.into_response(server.current_time());
    }
    let timeout = number("timeoutSeconds").map_or(DEFAULT_TIMEOUT, Duration::from_secs);
    let mut feed = WatchFeed {
        changes: server.inner.changes.subscribe(),
        generation: server.lock().generation,
        position: number("resourceVersion").unwrap_or(0),
        bookmarks: is_set("allowWatchBookmarks"),
        deadline: Instant::now() + timeout,
        resource: request.record.resource,
        server: server.clone(),
        selector,
        fault,
        sent: 0,
        last: None,
        lines: VecDeque::new(),
        has_ended: false,
    };
    if begins_with_list && feed.fault != Some(Fault::ExpireWatch) {
        feed.push_list();
    }
    let frames = stream::unfold(feed, |mut feed| async move {
        let line = feed.next().await?;
        Some((line.map(Frame::data), feed))
    });
    http_response(
        200,
        server.current_time(),
        StreamBody::new(frames).boxed_unsync(),
    )
}

/// The state of one watch.
struct WatchFeed {
    server: ApiServer,
    changes: Receiver<u64>,
    generation: u64,
    position: u64,
    resource: String,
    selector: Selector,
    bookmarks: bool,
    deadline: Instant,
    fault: Option<Fault>,
    /// The number of events that were sent.
    sent: usize,
    last: Option<String>,
    /// The lines to send, or the cut of the connection.
    lines: VecDeque<Result<Bytes, ConnectionCut>>,
    has_ended: bool,
}

impl WatchFeed {
    async fn next(&mut self) -> Option<Result<Bytes, ConnectionCut>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.has_ended || self.fault == Some(Fault::EndAfter(self.sent)) {
                return None;
            }
            self.read_changes();
            if !self.lines.is_empty() {
                if let Some(Fault::DelayEvents(time)) = self.fault {
                    tokio::time::sleep(time).await;
                }
                continue;
            }
            let bookmark = Instant::now() + BOOKMARK_INTERVAL;
            match timeout_at(self.deadline.min(bookmark), self.changes.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_elapsed) if Instant::now() >= self.deadline => return None,
                Err(_elapsed) => self.push_bookmark(),
            }
        }
    }

    /// Queues the events since the last call.
    fn read_changes(&mut self) {
        self.changes.mark_unchanged();
        let events = {
            let state = self.server.lock();
            if state.generation != self.generation {
                self.has_ended = true;
                self.lines.push_back(Err(ConnectionCut));
                return;
            }
            state
                .store
                .events_since(self.position, &self.resource, &self.selector)
        };
        match events {
            Ok(events) if self.fault != Some(Fault::ExpireWatch) => {
                for (version, event) in events {
                    self.position = version;
                    self.push_event(&event);
                }
            }
            Ok(_) | Err(_) => {
                self.has_ended = true;
                let status = ApiResponse::failure(410, "Expired", "too old resource version").body;
                self.push_line(&json!({"type": "ERROR", "object": status}).to_string());
            }
        }
    }

    /// Queues the existing objects and the bookmark that ends them.
    fn push_list(&mut self) {
        let (page, version) = {
            let state = self.server.lock();
            let page = state
                .store
                .list(&self.resource, &self.selector, None, usize::MAX);
            (page, state.store.version())
        };
        for object in page.items {
            self.push_event(&json!({"type": "ADDED", "object": object}));
        }
        self.position = version;
        if !self.has_ended && self.fault != Some(Fault::EndAfter(self.sent)) {
            let metadata = json!({
                "resourceVersion": version.to_string(), "annotations": {"k8s.io/initial-events-end": "true"},
            });
            let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": metadata});
            self.push_line(&json!({"type": "BOOKMARK", "object": object}).to_string());
        }
    }

    fn push_event(&mut self, event: &Value) {
        if self.has_ended || self.fault == Some(Fault::EndAfter(self.sent)) {
            return;
        }
        let line = event.to_string();
        if self.fault == Some(Fault::CutLine(self.sent)) {
            self.has_ended = true;
            let half = line.len() / 2;
            self.lines
                .push_back(Ok(Bytes::from(line.into_bytes()[..half].to_vec())));
            self.lines.push_back(Err(ConnectionCut));
            return;
        }
        self.sent += 1;
        self.push_line(&line);
        if self.fault == Some(Fault::RepeatEvents) {
            self.push_line(&line);
            if let Some(last) = self.last.replace(line) {
                self.push_line(&last);
            }
        }
    }

    fn push_bookmark(&mut self) {
        if self.bookmarks {
            let version = self.server.lock().store.version();
            if version < self.position {
                // A bookmark must not go back behind the requested version.
                return;
            }
            self.position = version;
            let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}});
            self.push_line(&json!({"type": "BOOKMARK", "object": object}).to_string());
        }
    }

    fn push_line(&mut self, line: &str) {
        self.lines.push_back(Ok(Bytes::from(format!("{line}\n"))));
    }
}
