//! The events of one watch that were not taken yet.

use std::collections::VecDeque;

use sandbox_core::guest::FileEventKind;

/// The most events that are kept.
const MAX_EVENTS: usize = 16_384;
/// The most bytes of names that are kept.
const MAX_NAMES: usize = 2 << 20;

/// Something that happened. The name is relative to the watched directory, and empty for that itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    pub(super) name: Vec<u8>,
    pub(super) kind: FileEventKind,
}

/// A list of events with a limit. When there are more, they are dropped, and one event says so.
#[derive(Debug, Default)]
pub(super) struct Events {
    list: VecDeque<Event>,
    name_bytes: usize,
}

impl Events {
    pub(super) fn push(&mut self, name: Vec<u8>, kind: FileEventKind) {
        if self.is_full() {
            self.push_overflow();
            return;
        }
        self.name_bytes += name.len();
        self.list.push_back(Event { name, kind });
    }

    /// Says that events were lost here.
    pub(super) fn push_overflow(&mut self) {
        let kind = FileEventKind::Overflow;
        if self.list.back().is_none_or(|last| last.kind != kind) {
            self.list.push_back(Event {
                name: Vec::new(),
                kind,
            });
        }
    }

    pub(super) fn is_full(&self) -> bool {
        self.list.len() >= MAX_EVENTS || self.name_bytes >= MAX_NAMES
    }

    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.list.pop_front()?;
        self.name_bytes -= event.name.len();
        Some(event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_reported_once() {
        let mut events = Events::default();
        for index in 0..=MAX_EVENTS + 1 {
            events.push(format!("{index}").into(), FileEventKind::Created);
        }
        assert_eq!(events.len(), MAX_EVENTS + 1);
        let mut last = None;
        while let Some(event) = events.pop() {
            last = Some(event.kind);
        }
        assert_eq!(last, Some(FileEventKind::Overflow));
        events.push(vec![b'x'; MAX_NAMES], FileEventKind::Created);
        assert!(events.is_full());
        events.pop();
        assert!(!events.is_full());
    }
}
