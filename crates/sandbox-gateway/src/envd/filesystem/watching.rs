//! Watched directories.

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use futures_util::stream;
use sandbox::{FileEvents, WatchOptions};

use super::messages::{Event, Events, NoEvent, WatchRequest, WatcherRequest};
use super::to_path;
use crate::connect::{CallKind, Code, ConnectError, Cut, Deadline, encode_frame};
use crate::envd::call::{Call, Guest, Pause};
use crate::envd::failure::Failure;
use crate::envd::user::files_of;

/// `WatchDir`: a stream of events, which ends when the client goes away.
pub(super) async fn watch(call: &Call, body: Body) -> Response {
    match start(call, body).await {
        Ok(response) => response,
        Err(failure) => failure.into_call_response(CallKind::Stream),
    }
}

async fn start(call: &Call, body: Body) -> Result<Response, Failure> {
    let request: WatchRequest = call.frame(body).await?;
    let deadline = Deadline::parse(&call.head.headers)?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let events = call.run(files.watch(to_options(request))).await?;
    let started = encode_frame(&serde_json::json!({ "start": {} }))?;
    let watch = Watch {
        guest: call.guest.clone(),
        first: Some(started),
        events,
        pause: Box::pin(call.guest.clone().pause()),
    };
    let frames = stream::unfold(Some(watch), |watch| async {
        let mut watch = watch?;
        match watch.next_frame().await {
            Ok(frame) => Some((Ok(frame?), Some(watch))),
            Err(cut) => Some((Err(cut), None)),
        }
    });
    let keepalive = encode_frame(&serde_json::json!({ "keepalive": {} }))?;
    Ok(call.stream_response(frames, deadline, keepalive))
}

/// `CreateWatcher`: events are kept in the sandbox.
pub(super) async fn create_watcher(call: &Call, body: Body) -> Result<WatcherRequest, Failure> {
    let request: WatchRequest = call.message(body).await?;
    let user = call.user()?;
    let files = files_of(&call.sandbox, user.as_deref());
    let watcher_id = call.run(files.create_watcher(to_options(request))).await?;
    Ok(WatcherRequest { watcher_id })
}

/// `GetWatcherEvents`: those since the last time.
pub(super) async fn take_events(call: &Call, body: Body) -> Result<Events, Failure> {
    let request: WatcherRequest = call.message(body).await?;
    let files = call.sandbox.guest_files();
    let taken = call.run(files.take_events(&request.watcher_id)).await?;
    let mut events = Vec::with_capacity(taken.len());
    for event in &taken {
        match Event::of(event) {
            Ok(event) => events.push(event),
            Err(NoEvent::Unknown) => {}
            Err(NoEvent::Lost) => return Err(lost().into()),
        }
    }
    Ok(Events { events })
}

struct Watch {
    guest: Guest,
    /// The frame that says that the directory is being watched.
    first: Option<Bytes>,
    events: FileEvents,
    pause: Pause,
}

impl Watch {
    async fn next_frame(&mut self) -> Result<Option<Bytes>, Cut> {
        if let Some(first) = self.first.take() {
            return Ok(Some(first));
        }
        loop {
            let event = tokio::select! {
                biased;
                event = self.events.next() => event,
                cut = &mut self.pause => return Err(cut),
            };
            let event = match event {
                Ok(Some(event)) => event,
                Ok(None) => return Ok(None),
                Err(error) => return Err(self.guest.cut(error).await),
            };
            match Event::of(&event) {
                Ok(event) => {
                    let message = serde_json::json!({ "filesystem": event });
                    return Ok(Some(encode_frame(&message)?));
                }
                Err(NoEvent::Unknown) => {}
                Err(NoEvent::Lost) => return Err(lost().into()),
            }
        }
    }
}

fn to_options(request: WatchRequest) -> WatchOptions {
    let mut options = WatchOptions::new(to_path(request.path));
    options.recursive = request.recursive;
    options.with_entries = request.include_entry;
    options.allow_network_mounts = request.allow_network_mounts;
    options
}

fn lost() -> ConnectError {
    let message =
        "more happened in the directory than could be kept, so events were lost; list it again";
    ConnectError::new(Code::DataLoss, message)
}
