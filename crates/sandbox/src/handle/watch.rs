//! Watching for changes of files, by polling.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, SystemTime};

use futures_util::stream::{self, BoxStream, StreamExt};
use sandbox_core::{Direction, Error, FileInfo, FileKind, Result, TransferReason};

use super::Sandbox;
use super::files::{Files, join_path};

/// How often it looks, unless asked otherwise.
const INTERVAL: Duration = Duration::from_secs(1);
/// More often would be a burden for nothing: times in SFTP are whole seconds.
const SHORTEST: Duration = Duration::from_millis(20);
/// The most files and directories that are watched, and how deep they may lie.
const MOST: usize = 100_000;
const MAX_DEPTH: usize = 128;

/// Watches a file or a directory by polling. Made by [`Files::watch`].
#[derive(Debug, Clone)]
#[must_use = "it looks when its events are asked for"]
pub struct Watch {
    sandbox: Sandbox,
    path: String,
    recursive: bool,
    interval: Duration,
}

/// A change of a file or directory.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct WatchEvent {
    /// The path that was given, or one below it.
    pub path: String,
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
    /// Watches a file, or the entries of a directory, by polling once a second. The path does not have
    /// to exist yet.
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
    pub fn watch(&self, path: impl Into<String>) -> Watch {
        Watch {
            sandbox: self.sandbox().clone(),
            path: path.into(),
            recursive: false,
            interval: INTERVAL,
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
        self.interval = interval.max(SHORTEST);
        self
    }

    /// Returns the stream of changes since the first poll, which happens when the stream is first
    /// polled. Changes found by one poll are ordered by path, removals first. A file that is created and
    /// removed between two polls is not noticed, nor is a change within one second that keeps the size,
    /// because modification times are whole seconds. Dropping the stream ends the watch.
    ///
    /// The stream ends after an error: [`Error::Connection`](crate::Error::Connection), or
    /// [`Error::Transfer`](crate::Error::Transfer), also for a name that cannot be represented and for
    /// more than 100,000 files.
    pub fn events(self) -> BoxStream<'static, Result<WatchEvent>> {
        let state = State {
            watch: self,
            seen: None,
            waiting: VecDeque::new(),
            ended: false,
        };
        stream::unfold(state, State::next).boxed()
    }

    /// All that is there.
    async fn look(&self) -> Result<Seen> {
        let mut seen = Seen::new();
        let session = self.sandbox.session();
        let Some(top) = there(session.stat(&self.path, true).await)? else {
            return Ok(seen);
        };
        if top.kind != FileKind::Directory {
            seen.insert(self.path.clone(), Look::of(&top));
            return Ok(seen);
        }
        let mut directories = vec![(self.path.clone(), 0)];
        while let Some((directory, depth)) = directories.pop() {
            // It may have gone since it was seen.
            let entries = there(session.list(&directory).await)?.unwrap_or_default();
            for entry in entries {
                let path = join_path(&directory, &entry.name);
                if seen.len() >= MOST || depth >= MAX_DEPTH {
                    let message =
                        format!("more than {MOST} files, or {MAX_DEPTH} levels, are not watched");
                    let reason = TransferReason::TooLarge;
                    return Err(Error::transfer(
                        Direction::Inside,
                        path,
                        reason,
                        message,
                        None,
                    ));
                }
                if self.recursive && entry.kind == FileKind::Directory {
                    directories.push((path.clone(), depth + 1));
                }
                seen.insert(path, Look::of(&entry));
            }
        }
        Ok(seen)
    }
}

type Seen = BTreeMap<String, Look>;

/// What is compared of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Look {
    kind: FileKind,
    mode: u32,
    /// A directory's are no news beside those of what is in it.
    content: Option<(u64, Option<SystemTime>)>,
}

impl Look {
    fn of(info: &FileInfo) -> Self {
        let content = (info.kind != FileKind::Directory).then_some((info.size, info.modified));
        Self {
            kind: info.kind,
            mode: info.mode,
            content,
        }
    }
}

struct State {
    watch: Watch,
    seen: Option<Seen>,
    waiting: VecDeque<WatchEvent>,
    ended: bool,
}

impl State {
    async fn next(mut self) -> Option<(Result<WatchEvent>, Self)> {
        loop {
            if let Some(event) = self.waiting.pop_front() {
                return Some((Ok(event), self));
            }
            if self.ended {
                return None;
            }
            if self.seen.is_some() {
                tokio::time::sleep(self.watch.interval).await;
            }
            match self.watch.look().await {
                Ok(now) => {
                    if let Some(before) = &self.seen {
                        self.waiting = changes(before, &now);
                    }
                    self.seen = Some(now);
                }
                Err(error) => {
                    self.ended = true;
                    return Some((Err(error), self));
                }
            }
        }
    }
}

fn changes(before: &Seen, now: &Seen) -> VecDeque<WatchEvent> {
    let event = |path: &String, kind| WatchEvent {
        path: path.clone(),
        kind,
    };
    let gone = before.keys().filter(|path| !now.contains_key(*path));
    let gone = gone.map(|path| event(path, WatchEventKind::Removed));
    let others = now
        .iter()
        .filter_map(|(path, look)| match before.get(path) {
            None => Some(event(path, WatchEventKind::Created)),
            Some(former) if former != look => Some(event(path, WatchEventKind::Modified)),
            Some(_) => None,
        });
    gone.chain(others).collect()
}

/// Nothing, where nothing is.
fn there<T>(result: Result<T>) -> Result<Option<T>> {
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
    fn changes_are_told_by_path_with_the_removed_first() {
        let file = |size| Look {
            kind: FileKind::File,
            mode: 0o644,
            content: Some((size, None)),
        };
        let directory = |mode| Look {
            kind: FileKind::Directory,
            mode,
            content: None,
        };
        let seen = |entries: &[(&str, Look)]| -> Seen {
            entries
                .iter()
                .map(|(path, look)| ((*path).to_owned(), look.clone()))
                .collect()
        };
        let before = seen(&[
            ("a", file(1)),
            ("b", file(1)),
            ("d", directory(0o755)),
            ("z", file(1)),
        ]);
        let now = seen(&[
            ("a", file(2)),
            ("b", file(1)),
            ("c", file(0)),
            ("d", directory(0o700)),
        ]);
        let told: Vec<_> = changes(&before, &now)
            .into_iter()
            .map(|event| (event.path, event.kind))
            .collect();
        let told: Vec<_> = told
            .iter()
            .map(|(path, kind)| (path.as_str(), *kind))
            .collect();
        use WatchEventKind::{Created, Modified, Removed};
        assert_eq!(
            told,
            [
                ("z", Removed),
                ("a", Modified),
                ("c", Created),
                ("d", Modified)
            ]
        );
        assert!(changes(&now, &now).is_empty());
    }
}
