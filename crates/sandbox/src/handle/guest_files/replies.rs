//! What a sandbox's server replies, which is untrusted.

use std::io;

use sandbox_core::guest::{FileEntry, FileEvent, FrameKind};
use sandbox_core::{
    ConnectionStage, Direction, Error, Escaped, FilePath, GuestChannel, GuestFrame, Result,
    TransferReason,
};
use serde::de::DeserializeOwned;

/// Waits for a message, however long that takes.
pub(super) async fn next_message<T: DeserializeOwned>(channel: &mut GuestChannel) -> Result<T> {
    next_listed(channel).await?.ok_or_else(invalid_reply)
}

/// Waits for the next message of a list; `None` once it is complete.
pub(super) async fn next_listed<T: DeserializeOwned>(
    channel: &mut GuestChannel,
) -> Result<Option<T>> {
    match channel.next().await? {
        Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::Message => {
            parse(&frame.payload).map(Some)
        }
        Some(GuestFrame::Frame(frame)) if frame.kind == FrameKind::ContentEnd => Ok(None),
        Some(GuestFrame::Frame(_)) => Err(invalid_reply()),
        Some(GuestFrame::Refused(refusal)) => Err(Error::Refused(Box::new(refusal))),
        Some(_) => Err(invalid_reply()),
        None => Err(cut_off()),
    }
}

/// Checks an entry of a list: its name is one component, and its path ends with it.
pub(super) fn check_listed(entry: &FileEntry) -> Result<()> {
    let name = entry.name.as_bytes();
    let (_, last) = entry.path.split_name();
    if is_component(name) && last == name {
        return Ok(());
    }
    Err(dangerous(&entry.name))
}

/// Checks the name of an event: it leads to no place outside of the watched directory.
pub(super) fn check_event(event: &FileEvent) -> Result<()> {
    let name = event.name.as_bytes();
    if name.is_empty() || name.split(|byte| *byte == b'/').all(is_component) {
        return Ok(());
    }
    Err(dangerous(&event.name))
}

/// The bytes that an entry takes in memory, beside its fixed size.
pub(super) fn entry_size(entry: &FileEntry) -> u64 {
    let attributes: usize = entry
        .attributes
        .iter()
        .map(|(name, value)| name.len() + value.len())
        .sum();
    let target = entry.target.as_ref().map_or(0, |target| target.path.len());
    let names = entry.name.len() + entry.path.len() + entry.owner.len() + entry.group.len();
    (names + target + attributes) as u64
}

pub(super) fn parse<T: DeserializeOwned>(json: &[u8]) -> Result<T> {
    // What the error quotes of the reply is escaped.
    serde_json::from_slice(json).map_err(|error| {
        let why = Escaped::new(&error.to_string()).to_string();
        violation(Some(io::Error::new(io::ErrorKind::InvalidData, why)))
    })
}

/// The error about a reply that violates the protocol.
pub(super) fn invalid_reply() -> Error {
    violation(None)
}

/// The error about a channel that was closed too early.
pub(super) fn cut_off() -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "the sandbox's server closed the channel before the operation was complete",
        Some(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    )
}

fn violation(source: Option<io::Error>) -> Error {
    Error::connection(
        ConnectionStage::Channel,
        "the sandbox's server sent a reply that violates the protocol",
        source.map(Into::into),
    )
}

fn is_component(name: &[u8]) -> bool {
    !matches!(name, b"" | b"." | b"..") && !name.iter().any(|byte| matches!(byte, b'/' | 0))
}

fn dangerous(name: &FilePath) -> Error {
    Error::transfer(
        Direction::Inside,
        name.clone(),
        TransferReason::BadName,
        "the sandbox's server reported a name that is no name of a file in the directory",
        None,
    )
}

#[cfg(test)]
mod tests {
    use sandbox_core::guest::FileEventKind;

    use super::*;

    fn entry(name: &str, path: &str) -> FileEntry {
        let mut entry = FileEntry::default();
        entry.name = name.into();
        entry.path = path.into();
        entry
    }

    #[test]
    fn only_names_of_files_in_the_directory_are_accepted() {
        assert!(check_listed(&entry("a b", "/d/a b")).is_ok());
        for (name, path) in [
            ("", "/d/"),
            (".", "/d/."),
            ("..", "/d/.."),
            ("a/b", "/d/a/b"),
            ("a\0", "/d/a\0"),
            ("a", "/d/b"),
        ] {
            assert!(check_listed(&entry(name, path)).is_err(), "{name:?}");
        }
    }

    #[test]
    fn an_event_names_something_in_the_watched_directory() {
        let event = |name: &str| FileEvent::new(name, FileEventKind::Created);
        for name in ["", "a", "a/b c"] {
            assert!(check_event(&event(name)).is_ok(), "{name:?}");
        }
        for name in ["/a", "a/", "../a", "a/../../b", "a//b", "./a", "a\0"] {
            assert!(check_event(&event(name)).is_err(), "{name:?}");
        }
    }
}
