//! One watch: what happens in a directory, and in those below it.

use std::collections::{HashMap, HashSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::fs::inotify::ReadFlags;
use rustix::io::Errno;
use sandbox_core::guest::{FileEvent, FileEventKind, Refusal};
use tokio::sync::OwnedSemaphorePermit;

use super::directories::{Unwatched, join, read_entries, strip_directory};
use super::events::{Event, Events};
use super::instance::{Inbox, Instance, RawEvent};
use super::moves::{Moves, find_moves};
use crate::guest::entry::Describer;
use crate::lock::lock;

/// A watch of a directory. Its methods block, except [`wait`](Self::wait).
pub(super) struct Watcher {
    instance: Arc<Instance>,
    inbox: Arc<Inbox>,
    top: PathBuf,
    is_recursive: bool,
    state: Mutex<State>,
    _permit: OwnedSemaphorePermit,
}

#[derive(Default)]
struct State {
    /// What is watched, by the number that inotify gives it.
    directories: HashMap<i32, Directory>,
    top: i32,
    /// Directories of which entries were reported when they were read.
    just_read: Vec<i32>,
    events: Events,
    /// The directory itself was removed or moved.
    is_ended: bool,
}

/// A directory that is watched.
#[derive(Default)]
struct Directory {
    /// Relative to the top, which has an empty one.
    name: Vec<u8>,
    /// Entries that were there when it was first read, and were reported. Those that were created between
    /// the begin of the watch and the reading are reported by inotify, too.
    reported: HashSet<Vec<u8>>,
}

impl Watcher {
    /// Begins to watch.
    pub(super) fn new(
        instance: Arc<Instance>,
        top: PathBuf,
        is_recursive: bool,
        permit: OwnedSemaphorePermit,
    ) -> Result<Self, Refusal> {
        let watcher = Self {
            instance,
            inbox: Arc::default(),
            top,
            is_recursive,
            state: Mutex::default(),
            _permit: permit,
        };
        match watcher.begin() {
            Ok(()) => Ok(watcher),
            Err(unwatched) => Err(unwatched.into_refusal()),
        }
    }

    /// Whether something at this path may be in what is watched.
    pub(super) fn includes(&self, path: &Path) -> bool {
        self.is_recursive && path.starts_with(&self.top)
    }

    /// Waits until something has happened.
    pub(super) async fn wait(&self) {
        self.inbox.wait().await;
    }

    /// Processes all that has happened by now, and returns how many events there are to be taken.
    pub(super) fn process(&self) -> usize {
        let mut state = lock(&self.state);
        let read_before = std::mem::take(&mut state.just_read);
        self.instance.drain();
        let batch = self.inbox.take();
        let mut moves = find_moves(&batch);
        for event in batch {
            self.process_event(&mut state, event, &mut moves);
        }
        // All that happened before these directories were read was processed now.
        for number in read_before {
            if let Some(directory) = state.directories.get_mut(&number) {
                directory.reported = HashSet::new();
            }
        }
        state.events.len()
    }

    /// Takes events, at most `count`, with what is at their paths now if there is a describer.
    pub(super) fn take(&self, count: usize, describer: Option<&mut Describer>) -> Vec<FileEvent> {
        let taken: Vec<Event> = {
            let mut state = lock(&self.state);
            std::iter::from_fn(|| state.events.pop())
                .take(count)
                .collect()
        };
        let mut events: Vec<FileEvent> = taken
            .into_iter()
            .map(|event| FileEvent::new(event.name, event.kind))
            .collect();
        if let Some(describer) = describer {
            for event in &mut events {
                if has_entry(event.kind) {
                    let path = self.path_of(event.name.as_bytes());
                    event.entry = describer.describe(&path).ok().map(Box::new);
                }
            }
        }
        events
    }

    /// Whether nothing can happen any more, because the directory itself was removed or moved.
    pub(super) fn is_ended(&self) -> bool {
        lock(&self.state).is_ended
    }

    fn begin(&self) -> Result<(), Unwatched> {
        let mut state = lock(&self.state);
        let added = self.instance.add(&self.top, true, &self.inbox);
        state.top = added.map_err(|error| Unwatched::new(&self.top, error.into()))?;
        let top = state.top;
        state.directories.insert(top, Directory::default());
        if self.is_recursive {
            for name in self.subdirectories(b"")? {
                self.watch_tree(&mut state, name, false, &mut HashSet::new())?;
            }
        }
        Ok(())
    }

    fn process_event(&self, state: &mut State, event: RawEvent, moves: &mut Moves) {
        use FileEventKind::{Attributes, Created, Removed, Renamed, Written};
        let flags = event.flags;
        if state.is_ended {
            return;
        }
        if flags.contains(ReadFlags::QUEUE_OVERFLOW) {
            state.events.push_overflow();
            self.watch_anew(state);
            return;
        }
        let Some(directory) = state.directories.get_mut(&event.directory) else {
            return;
        };
        let Some(name) = event.name else {
            let is_top = event.directory == state.top;
            self.process_own_event(state, event.directory, flags, is_top);
            return;
        };
        let was_reported = directory.reported.remove(&name);
        let path = join(&directory.name, &name);
        let is_directory = flags.contains(ReadFlags::ISDIR) && self.is_recursive;
        if flags.contains(ReadFlags::CREATE) {
            // Otherwise the directory was read after this event, and the entry was reported then.
            if !was_reported {
                state.events.push(path.clone(), Created);
                if is_directory {
                    self.watch_new(state, path, true);
                }
            }
        } else if flags.contains(ReadFlags::MOVED_TO) {
            // It may have replaced what was reported, so it is reported in any case.
            state.events.push(path.clone(), Created);
            if is_directory && !moves.arrived.remove(&event.cookie) {
                self.watch_new(state, path, !was_reported);
            }
        } else if flags.contains(ReadFlags::MOVED_FROM) {
            state.events.push(path.clone(), Renamed);
            if is_directory {
                match self.find_destination(state, moves, event.cookie) {
                    Some(to) => state.rename(&path, &to),
                    None => self.unwatch_tree(state, &path),
                }
            }
        } else if flags.contains(ReadFlags::DELETE) {
            state.events.push(path, Removed);
        } else if flags.contains(ReadFlags::MODIFY) {
            state.events.push(path, Written);
        } else if flags.contains(ReadFlags::ATTRIB) {
            state.events.push(path, Attributes);
        }
    }

    /// Processes what happens to a watched directory itself. Of those below the top, their parents report it.
    fn process_own_event(&self, state: &mut State, number: i32, flags: ReadFlags, is_top: bool) {
        if flags.contains(ReadFlags::IGNORED) {
            state.directories.remove(&number);
        }
        if !is_top {
            return;
        }
        if flags.intersects(ReadFlags::DELETE_SELF | ReadFlags::UNMOUNT | ReadFlags::IGNORED) {
            state.events.push(Vec::new(), FileEventKind::Removed);
            state.is_ended = true;
        } else if flags.contains(ReadFlags::MOVE_SELF) {
            state.events.push(Vec::new(), FileEventKind::Renamed);
            state.is_ended = true;
        } else if flags.contains(ReadFlags::ATTRIB) {
            state.events.push(Vec::new(), FileEventKind::Attributes);
        }
    }

    /// Where a directory was moved to, if that is watched, too.
    fn find_destination(&self, state: &State, moves: &mut Moves, cookie: u32) -> Option<Vec<u8>> {
        let (directory, name) = moves.destinations.get(&cookie)?;
        let directory = state.directories.get(directory)?;
        moves.arrived.insert(cookie);
        Some(join(&directory.name, name))
    }

    /// Watches a directory that has appeared, with those below it, and reports what is in them.
    fn watch_new(&self, state: &mut State, name: Vec<u8>, is_reported: bool) {
        if let Err(unwatched) = self.watch_tree(state, name, is_reported, &mut HashSet::new()) {
            report_loss(state, &unwatched);
        }
    }

    /// Watches what is there now, after events were lost.
    fn watch_anew(&self, state: &mut State) {
        if !self.is_recursive {
            return;
        }
        let mut found = HashSet::from([state.top]);
        let watched = self.subdirectories(b"").and_then(|names| {
            names
                .into_iter()
                .try_for_each(|name| self.watch_tree(state, name, false, &mut found))
        });
        if let Err(unwatched) = watched {
            report_loss(state, &unwatched);
            return;
        }
        let gone: Vec<i32> = state
            .directories
            .keys()
            .copied()
            .filter(|number| !found.contains(number))
            .collect();
        self.unwatch(state, gone);
    }

    /// Watches a directory and those below it. What vanishes meanwhile is left out.
    fn watch_tree(
        &self,
        state: &mut State,
        name: Vec<u8>,
        is_reported: bool,
        found: &mut HashSet<i32>,
    ) -> Result<(), Unwatched> {
        let mut waiting = vec![name];
        while let Some(name) = waiting.pop() {
            // It is watched before it is read, so that nothing is missed in between.
            let path = self.path_of(&name);
            let number = match self.instance.add(&path, false, &self.inbox) {
                Ok(number) => number,
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(error) => return Err(Unwatched::new(&path, error.into())),
            };
            found.insert(number);
            let directory = state.directories.entry(number).or_default();
            directory.name.clone_from(&name);
            let entries = match read_entries(&path) {
                Ok(entries) => entries,
                Err(unwatched) if unwatched.is_vanished() => continue,
                Err(unwatched) => return Err(unwatched),
            };
            // The first is on top.
            for (entry, is_directory) in entries.iter().rev() {
                if *is_directory {
                    waiting.push(join(&name, entry));
                }
            }
            if !is_reported {
                continue;
            }
            state.just_read.push(number);
            for (entry, _) in entries {
                state
                    .events
                    .push(join(&name, &entry), FileEventKind::Created);
                if !state.events.is_full()
                    && let Some(directory) = state.directories.get_mut(&number)
                {
                    directory.reported.insert(entry);
                }
            }
        }
        Ok(())
    }

    fn unwatch_tree(&self, state: &mut State, name: &[u8]) {
        let below: Vec<i32> = state
            .directories
            .iter()
            .filter(|(_, directory)| strip_directory(&directory.name, name).is_some())
            .map(|(number, _)| *number)
            .collect();
        self.unwatch(state, below);
    }

    fn unwatch(&self, state: &mut State, numbers: Vec<i32>) {
        for number in &numbers {
            state.directories.remove(number);
        }
        self.instance.remove(numbers.into_iter(), &self.inbox);
    }

    fn subdirectories(&self, name: &[u8]) -> Result<Vec<Vec<u8>>, Unwatched> {
        let entries = read_entries(&self.path_of(name))?.into_iter();
        Ok(entries
            .filter(|(_, is_directory)| *is_directory)
            .map(|(entry, _)| join(name, &entry))
            .collect())
    }

    fn path_of(&self, name: &[u8]) -> PathBuf {
        if name.is_empty() {
            return self.top.clone();
        }
        self.top.join(OsStr::from_bytes(name))
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        let numbers: Vec<i32> = lock(&self.state).directories.keys().copied().collect();
        self.instance.remove(numbers.into_iter(), &self.inbox);
    }
}

impl State {
    /// Follows the renaming of a directory that stays watched.
    fn rename(&mut self, from: &[u8], to: &[u8]) {
        for directory in self.directories.values_mut() {
            if let Some(rest) = strip_directory(&directory.name, from) {
                directory.name = [to, rest].concat();
            }
        }
    }
}

fn has_entry(kind: FileEventKind) -> bool {
    matches!(
        kind,
        FileEventKind::Created | FileEventKind::Written | FileEventKind::Attributes
    )
}

/// Says that events are lost, because a directory cannot be watched.
fn report_loss(state: &mut State, Unwatched { path, error }: &Unwatched) {
    tracing::warn!(?path, %error, "directory not watched");
    state.events.push_overflow();
}
