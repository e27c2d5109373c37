//! Watches files for changes, by polling.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, BoxStream, StreamExt};
use sandbox_core::{
    Direction, Error, FileInfo, FileKind, FilePath, ListBudget, Result, TransferReason,
};

use super::Sandbox;
use super::files::Files;

/// The default polling interval.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// The shortest polling interval. A shorter one finds nothing more, because times in SFTP are whole
/// seconds.
const MIN_INTERVAL: Duration = Duration::from_millis(20);
/// The maximum number of files and directories that are watched.
const MAX_ENTRIES: usize = 100_000;
/// The maximum nesting depth of directories that are watched.
const MAX_DEPTH: usize = 128;

/// Watches a file or a directory by polling. Created by [`Files::watch`].
#[derive(Debug, Clone)]
#[must_use = "a watch polls only while its events are read"]
pub struct Watch {
    sandbox: Sandbox,
    path: FilePath,
    recursive: bool,
    interval: Duration,
}

/// A change of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvent {
    /// The path that was given, or one below it.
    pub path: FilePath,
    /// What changed.
    pub kind: WatchEventKind,
}

/// Kinds of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WatchEventKind {
    /// It was created.
    Created,
    /// Its size, modification time or permissions changed; for a directory, its permissions.
    Modified,
    /// It was removed.
    Removed,
}

impl Files<'_> {
    /// Watches a file, or the entries of a directory, by polling once a second. The path does not
    /// have to exist yet.
    ///
    /// ```no_run
    /// # use futures_util::StreamExt;
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let mut events = sbx.files().watch("results").recursive(true).events();
    /// while let Some(event) = events.next().await {
    ///     println!("{:?}", event?);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    pub fn watch(&self, path: impl Into<FilePath>) -> Watch {
        Watch {
            sandbox: self.sandbox().clone(),
            path: path.into(),
            recursive: false,
            interval: DEFAULT_INTERVAL,
        }
    }
}

impl Watch {
    /// Whether to watch subdirectories too. Links are not followed.
    pub fn recursive(mut self, recursive: bool) -> Self {
        self.recursive = recursive;
        self
    }

    /// Sets the polling interval; at least 20 ms.
    pub fn interval(mut self, interval: Duration) -> Self {
        self.interval = interval.max(MIN_INTERVAL);
        self
    }

    /// Returns the stream of changes since the first poll, which happens when the stream is first
    /// polled. Changes found by one poll are ordered by path, removals first. A file that is
    /// created and removed between two polls is not noticed, nor is a change within one second that
    /// keeps the size, because modification times are whole seconds. Dropping the stream ends the
    /// watch.
    ///
    /// The stream ends after an error: [`Error::Connection`](crate::Error::Connection), or
    /// [`Error::Transfer`](crate::Error::Transfer), also for more than 100,000 files.
    pub fn events(self) -> BoxStream<'static, Result<WatchEvent>> {
        let state = State {
            watch: self,
            snapshot: None,
            pending: VecDeque::new(),
            has_failed: false,
        };
        stream::unfold(state, State::next_event).boxed()
    }

    /// Reads the current state of everything that is watched.
    async fn take_snapshot(&self) -> Result<Snapshot> {
        let mut snapshot = Snapshot::new();
        let session = self.sandbox.session();
        let Some(top) = found_or_none(session.stat(&self.path, true).await)? else {
            return Ok(snapshot);
        };
        if top.kind != FileKind::Directory {
            snapshot.insert(self.path.clone(), FileState::from_info(&top));
            return Ok(snapshot);
        }
        let too_large = |path: FilePath| {
            let message =
                format!("more than {MAX_ENTRIES} files or {MAX_DEPTH} levels cannot be watched");
            let reason = TransferReason::TooLarge;
            Error::transfer(Direction::Inside, path, reason, message, None)
        };
        // The paths in memory have a budget of their own: in deep directories they are much longer
        // than the names.
        let budget = ListBudget::new(MAX_ENTRIES as u64, ListBudget::DEFAULT_NAME_BYTES);
        let paths = ListBudget::default();
        let mut directories = vec![(self.path.clone(), 0)];
        while let Some((directory, depth)) = directories.pop() {
            // The directory may have been removed after it was listed.
            let listed = session.list_within(&directory, &budget).await;
            let entries = match found_or_none(listed) {
                Err(Error::Transfer(error)) if error.reason == TransferReason::TooLarge => {
                    return Err(too_large(directory));
                }
                entries => entries?.unwrap_or_default(),
            };
            for entry in entries {
                let path = directory.join(&entry.name);
                if depth >= MAX_DEPTH || !paths.take(0, path.len() as u64) {
                    return Err(too_large(path));
                }
                if self.recursive && entry.kind == FileKind::Directory {
                    directories.push((path.clone(), depth + 1));
                }
                snapshot.insert(path, FileState::from_info(&entry));
            }
        }
        Ok(snapshot)
    }
}

/// The watched files and directories, by path.
type Snapshot = BTreeMap<FilePath, FileState>;

/// The properties of a file whose changes are reported.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FileState {
    kind: FileKind,
    mode: u32,
    /// The size and the modification time. `None` for a directory, because its time changes
    /// together with its entries, which are reported themselves.
    content: Option<(u64, Option<SystemTime>)>,
}

impl FileState {
    fn from_info(info: &FileInfo) -> Self {
        let content = (info.kind != FileKind::Directory).then_some((info.size, info.modified));
        Self {
            kind: info.kind,
            mode: info.mode,
            content,
        }
    }
}

/// The state of a stream of changes.
struct State {
    watch: Watch,
    /// The result of the last poll.
    snapshot: Option<Snapshot>,
    /// Changes that were found and not returned yet.
    pending: VecDeque<WatchEvent>,
    has_failed: bool,
}

impl State {
    async fn next_event(mut self) -> Option<(Result<WatchEvent>, Self)> {
        loop {
            if let Some(event) = self.pending.pop_front() {
                return Some((Ok(event), self));
            }
            if self.has_failed {
                return None;
            }
            if self.snapshot.is_some() {
                tokio::time::sleep(self.watch.interval).await;
            }
            match self.watch.take_snapshot().await {
                Ok(now) => {
                    if let Some(before) = &self.snapshot {
                        self.pending = compare(before, &now);
                    }
                    self.snapshot = Some(now);
                }
                Err(error) => {
                    self.has_failed = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}

/// Returns the changes between two snapshots, removals first.
fn compare(before: &Snapshot, now: &Snapshot) -> VecDeque<WatchEvent> {
    let event = |path: &FilePath, kind| WatchEvent {
        path: path.clone(),
        kind,
    };
    let removed = before
        .keys()
        .filter(|path| !now.contains_key(*path))
        .map(|path| event(path, WatchEventKind::Removed));
    let others = now
        .iter()
        .filter_map(|(path, state)| match before.get(path) {
            None => Some(event(path, WatchEventKind::Created)),
            Some(former) if former != state => Some(event(path, WatchEventKind::Modified)),
            Some(_) => None,
        });
    removed.chain(others).collect()
}

/// Turns the error about a missing file into `None`.
fn found_or_none<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_are_ordered_by_path_with_removals_first() {
        let file = |size| FileState {
            kind: FileKind::File,
            mode: 0o644,
            content: Some((size, None)),
        };
        let directory = |mode| FileState {
            kind: FileKind::Directory,
            mode,
            content: None,
        };
        let snapshot = |entries: &[(&str, FileState)]| -> Snapshot {
            entries
                .iter()
                .map(|(path, state)| ((*path).into(), state.clone()))
                .collect()
        };
        let before = snapshot(&[
            ("a", file(1)),
            ("b", file(1)),
            ("d", directory(0o755)),
            ("z", file(1)),
        ]);
        let now = snapshot(&[
            ("a", file(2)),
            ("b", file(1)),
            ("c", file(0)),
            ("d", directory(0o700)),
        ]);
        let reported: Vec<_> = compare(&before, &now)
            .into_iter()
            .map(|event| (event.path, event.kind))
            .collect();
        let reported: Vec<_> = reported
            .iter()
            .map(|(path, kind)| (path.to_str().unwrap(), *kind))
            .collect();
        use WatchEventKind::{Created, Modified, Removed};
        assert_eq!(
            reported,
            [
                ("z", Removed),
                ("a", Modified),
                ("c", Created),
                ("d", Modified)
            ]
        );
        assert!(compare(&now, &now).is_empty());
    }
}
