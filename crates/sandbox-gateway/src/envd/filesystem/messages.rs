//! Messages of the service.

use sandbox::{FileEntry, FileEvent, FileEventKind};
use serde::{Deserialize, Serialize};

use super::entry::{EntryInfo, text};
use crate::connect::json::{or_default, uint32};

/// A request about one path.
#[derive(Debug, Deserialize)]
pub(super) struct PathRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) path: String,
}

/// `ListDirRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct ListRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) path: String,
    #[serde(default, deserialize_with = "uint32")]
    pub(super) depth: u32,
}

/// `MoveRequest`.
#[derive(Debug, Deserialize)]
pub(super) struct MoveRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) source: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) destination: String,
}

/// `WatchDirRequest` and `CreateWatcherRequest`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatchRequest {
    #[serde(default, deserialize_with = "or_default")]
    pub(super) path: String,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) recursive: bool,
    #[serde(default, deserialize_with = "or_default", alias = "include_entry")]
    pub(super) include_entry: bool,
    #[serde(
        default,
        deserialize_with = "or_default",
        alias = "allow_network_mounts"
    )]
    pub(super) allow_network_mounts: bool,
}

/// A request about a watcher, and the response to `CreateWatcher`.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct WatcherRequest {
    #[serde(default, deserialize_with = "or_default", alias = "watcher_id")]
    pub(super) watcher_id: String,
}

/// A response with one file.
#[derive(Debug, Serialize)]
pub(super) struct Entry {
    entry: EntryInfo,
}

impl Entry {
    pub(super) fn of(entry: &FileEntry) -> Self {
        Self {
            entry: EntryInfo::of(entry),
        }
    }
}

/// `ListDirResponse`.
#[derive(Debug, Serialize)]
pub(super) struct Entries {
    pub(super) entries: Vec<EntryInfo>,
}

/// `GetWatcherEventsResponse`.
#[derive(Debug, Serialize)]
pub(super) struct Events {
    pub(super) events: Vec<Event>,
}

/// `FilesystemEvent`.
#[derive(Debug, Serialize)]
pub(super) struct Event {
    name: String,
    #[serde(rename = "type")]
    kind: EventType,
    #[serde(skip_serializing_if = "Option::is_none")]
    entry: Option<EntryInfo>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum EventType {
    #[serde(rename = "EVENT_TYPE_CREATE")]
    Create,
    #[serde(rename = "EVENT_TYPE_WRITE")]
    Write,
    #[serde(rename = "EVENT_TYPE_REMOVE")]
    Remove,
    #[serde(rename = "EVENT_TYPE_RENAME")]
    Rename,
    #[serde(rename = "EVENT_TYPE_CHMOD")]
    Chmod,
}

/// Why an event cannot be passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoEvent {
    /// Events were lost, which the client has to learn.
    Lost,
    /// It is of a kind that this protocol does not have.
    Unknown,
}

impl Event {
    pub(super) fn of(event: &FileEvent) -> Result<Self, NoEvent> {
        let kind = match event.kind {
            FileEventKind::Created => EventType::Create,
            FileEventKind::Written => EventType::Write,
            FileEventKind::Removed => EventType::Remove,
            FileEventKind::Renamed => EventType::Rename,
            FileEventKind::Attributes => EventType::Chmod,
            FileEventKind::Overflow => return Err(NoEvent::Lost),
            _unknown => return Err(NoEvent::Unknown),
        };
        Ok(Self {
            name: text(&event.name),
            kind,
            entry: event.entry.as_deref().map(EntryInfo::of),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absent_fields_have_their_defaults() {
        let request: ListRequest = serde_json::from_str(r#"{"path":"/a"}"#).unwrap();
        assert_eq!((request.path.as_str(), request.depth), ("/a", 0));
        let request: WatchRequest =
            serde_json::from_str(r#"{"path":null,"includeEntry":true,"new":1}"#).unwrap();
        assert!(request.include_entry && !request.recursive && request.path.is_empty());
    }

    #[test]
    fn events_have_the_names_of_the_protocol() {
        let cases = [
            (FileEventKind::Created, "EVENT_TYPE_CREATE"),
            (FileEventKind::Written, "EVENT_TYPE_WRITE"),
            (FileEventKind::Removed, "EVENT_TYPE_REMOVE"),
            (FileEventKind::Renamed, "EVENT_TYPE_RENAME"),
            (FileEventKind::Attributes, "EVENT_TYPE_CHMOD"),
        ];
        for (kind, name) in cases {
            let event = Event::of(&FileEvent::new("d/a.txt", kind)).unwrap();
            let json = serde_json::to_value(event).unwrap();
            assert_eq!(json, serde_json::json!({"name": "d/a.txt", "type": name}));
        }
        let lost = Event::of(&FileEvent::new("", FileEventKind::Overflow));
        assert_eq!(lost.unwrap_err(), NoEvent::Lost);
    }
}
