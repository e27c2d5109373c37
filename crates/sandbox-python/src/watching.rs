//! Watches of directories.

use std::sync::Arc;

use pyo3::prelude::*;
use sandbox::{FileEvent, FileEventKind, FileEvents, FilePath, Sandbox, WatchOptions};
use tokio::sync::{Mutex, watch};

use crate::calls::{Shared, object, operation, share};
use crate::operation::Operation;
use crate::untaken::{Turn, Untaken};
use crate::value::{Outcome, Value};

/// A watch of a directory.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawWatch {
    parts: Shared<Arc<Parts>>,
}

struct Parts {
    directory: FilePath,
    /// `None` after its end.
    events: Mutex<Option<FileEvents>>,
    /// Events whose callers were cancelled.
    untaken: Arc<Untaken<FileEvent>>,
    /// Ends a call that waits for the next event.
    is_closed: watch::Sender<bool>,
}

/// Begins to watch a directory.
pub(crate) async fn begin_watch(sandbox: Sandbox, path: Vec<u8>, recursive: bool) -> Outcome {
    let directory = FilePath::from(path);
    let mut options = WatchOptions::new(directory.clone());
    options.recursive = recursive;
    let events = sandbox.guest_files().watch(options).await?;
    let (is_closed, _) = watch::channel(false);
    object(RawWatch {
        parts: share(Arc::new(Parts {
            directory,
            events: Mutex::new(Some(events)),
            untaken: Untaken::new(),
            is_closed,
        })),
    })
}

#[pymethods]
impl RawWatch {
    /// Waits for the next event: an item with its path and its kind. `None` after the end.
    fn next(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            let mut closed = parts.is_closed.subscribe();
            let turn = parts.untaken.turn().await?;
            let mut events = parts.events.lock().await;
            if let Some(event) = parts.untaken.take() {
                return Ok(parts.hand_over(turn, event));
            }
            let Some(open) = events.as_mut() else {
                return Ok(Value::None);
            };
            let next = tokio::select! {
                biased;
                _ = closed.wait_for(|closed| *closed) => Ok(None),
                next = open.next() => next,
            };
            if !matches!(next, Ok(Some(_))) {
                *events = None;
            }
            Ok(Value::optional(next?, |event| parts.hand_over(turn, event)))
        })
    }

    /// Ends the watch.
    fn close(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            parts.is_closed.send_replace(true);
            drop(parts.events.lock().await.take());
            parts.untaken.clear();
            Ok(Value::None)
        })
    }
}

impl Parts {
    fn hand_over(&self, turn: Turn, event: FileEvent) -> Value {
        let directory = self.directory.clone();
        self.untaken
            .hand_over(turn, event, |event| event_record(directory, event))
    }
}

fn event_record(directory: FilePath, event: FileEvent) -> Value {
    let path = if event.name.is_empty() {
        directory
    } else {
        directory.join(&event.name)
    };
    Value::Tuple(vec![Value::Path(path), Value::text(kind_name(event.kind))])
}

/// The name that Python has for a kind.
fn kind_name(kind: FileEventKind) -> &'static str {
    match kind {
        FileEventKind::Created => "created",
        FileEventKind::Written => "written",
        FileEventKind::Removed => "removed",
        FileEventKind::Renamed => "renamed",
        FileEventKind::Attributes => "attributes",
        FileEventKind::Overflow => "overflow",
        FileEventKind::Unknown => "other",
        _ => "other",
    }
}
