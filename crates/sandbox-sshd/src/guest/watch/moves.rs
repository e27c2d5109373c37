//! Directories that are moved within what is watched: they stay watched, under another name.

use std::collections::{HashMap, HashSet, VecDeque};

use rustix::fs::inotify::ReadFlags;

use super::instance::RawEvent;

/// The directories that were moved to another place.
#[derive(Default)]
pub(super) struct Moves {
    /// The directory that each was moved to, and its name there, by the cookie of the move.
    pub(super) destinations: HashMap<u32, (i32, Vec<u8>)>,
    /// Those whose new places are known when the events of their arrival are processed.
    pub(super) arrived: HashSet<u32>,
}

/// Finds where directories were moved to, before their departures are processed.
pub(super) fn find_moves(events: &VecDeque<RawEvent>) -> Moves {
    let mut moves = Moves::default();
    for event in events {
        let is_arrival = event.flags.contains(ReadFlags::MOVED_TO | ReadFlags::ISDIR);
        if let Some(name) = event.name.as_ref().filter(|_| is_arrival) {
            let destination = (event.directory, name.clone());
            moves.destinations.insert(event.cookie, destination);
        }
    }
    moves
}
