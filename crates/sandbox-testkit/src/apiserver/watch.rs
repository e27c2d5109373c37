//! Watches: a line of JSON for each event.
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

use super::ApiServer;
use super::answer::{Answer, Body, Cut, response};
use super::fault::Fault;
use super::request::Call;
use super::selector::Selector;

/// How often a watch in which nothing happens is told where it is.
const BOOKMARKS: Duration = Duration::from_secs(60);
/// How long a watch lasts if nobody says.
const LONGEST: Duration = Duration::from_secs(1800);

pub(super) fn begin(server: &ApiServer, call: Call, fault: Option<Fault>) -> Response<Body> {
    let number = |key: &str| {
        call.query
            .get(key)
            .and_then(|text| text.parse::<u64>().ok())
    };
    let Some(selector) = Selector::of(&call.query) else {
        let answer = Answer::failure(
            400,
            "BadRequest",
            "unable to parse requirement of the selector",
        );
        return answer.into_response(server.now());
    };
    let lasts = number("timeoutSeconds").map_or(LONGEST, Duration::from_secs);
    let feed = Feed {
        news: server.inner.news.subscribe(),
        generation: server.lock().generation,
        position: number("resourceVersion").unwrap_or(0),
        bookmarks: call
            .query
            .get("allowWatchBookmarks")
            .is_some_and(|value| value == "true"),
        ends: Instant::now() + lasts,
        resource: call.seen.resource,
        server: server.clone(),
        selector,
        fault,
        told: 0,
        last: None,
        lines: VecDeque::new(),
        over: false,
    };
    let frames = stream::unfold(feed, |mut feed| async move {
        let line = feed.next().await?;
        Some((line.map(Frame::data), feed))
    });
    response(200, server.now(), StreamBody::new(frames).boxed_unsync())
}

struct Feed {
    server: ApiServer,
    news: Receiver<u64>,
    generation: u64,
    position: u64,
    resource: String,
    selector: Selector,
    bookmarks: bool,
    ends: Instant,
    fault: Option<Fault>,
    /// How many events were told.
    told: usize,
    last: Option<String>,
    /// What is to be sent: bytes, or the cut.
    lines: VecDeque<Result<Bytes, Cut>>,
    over: bool,
}

impl Feed {
    async fn next(&mut self) -> Option<Result<Bytes, Cut>> {
        loop {
            if let Some(line) = self.lines.pop_front() {
                return Some(line);
            }
            if self.over || self.fault == Some(Fault::End(self.told)) {
                return None;
            }
            self.look();
            if !self.lines.is_empty() {
                if let Some(Fault::Late(time)) = self.fault {
                    tokio::time::sleep(time).await;
                }
                continue;
            }
            let bookmark = Instant::now() + BOOKMARKS;
            match timeout_at(self.ends.min(bookmark), self.news.changed()).await {
                Ok(Ok(())) => {}
                Ok(Err(_)) => return None,
                Err(_elapsed) if Instant::now() >= self.ends => return None,
                Err(_elapsed) => self.mark(),
            }
        }
    }

    /// Takes in what happened.
    fn look(&mut self) {
        self.news.mark_unchanged();
        let found = {
            let state = self.server.lock();
            if state.generation != self.generation {
                self.over = true;
                self.lines.push_back(Err(Cut));
                return;
            }
            state
                .store
                .since(self.position, &self.resource, &self.selector)
        };
        match found {
            Ok(events) if self.fault != Some(Fault::Gone) => {
                for (version, event) in events {
                    self.position = version;
                    self.tell(&event);
                }
            }
            Ok(_) | Err(_) => {
                self.over = true;
                let status = Answer::failure(410, "Expired", "too old resource version").body;
                self.push(&json!({"type": "ERROR", "object": status}).to_string());
            }
        }
    }

    fn tell(&mut self, event: &Value) {
        if self.over || self.fault == Some(Fault::End(self.told)) {
            return;
        }
        let line = event.to_string();
        if self.fault == Some(Fault::CutLine(self.told)) {
            self.over = true;
            let half = line.len() / 2;
            self.lines
                .push_back(Ok(Bytes::from(line.into_bytes()[..half].to_vec())));
            self.lines.push_back(Err(Cut));
            return;
        }
        self.told += 1;
        self.push(&line);
        if self.fault == Some(Fault::Repeat) {
            self.push(&line);
            if let Some(last) = self.last.replace(line) {
                self.push(&last);
            }
        }
    }

    fn mark(&mut self) {
        if self.bookmarks {
            let version = self.server.lock().store.version();
            if version < self.position {
                // Nothing is told of what was before the version that was asked for.
                return;
            }
            self.position = version;
            let object = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": version.to_string()}});
            self.push(&json!({"type": "BOOKMARK", "object": object}).to_string());
        }
    }

    fn push(&mut self, line: &str) {
        self.lines.push_back(Ok(Bytes::from(format!("{line}\n"))));
    }
}
