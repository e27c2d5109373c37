//! The inotify instance that the watches of one server share.
//!
//! The system limits the instances of a user, for all sandboxes of a node together, so a server has one, and
//! only while something is watched. Its events are passed on to the watches at once, each of which has an inbox, so
//! that one on a slow disk delays no other.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::sync::{Arc, Mutex, Weak};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, ReadFlags, Reader, WatchFlags};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::sync::Notify;

use crate::lock::lock;

/// The most directories of all watches.
pub(super) const MAX_DIRECTORIES: usize = 32_768;
/// The most events in one inbox.
const MAX_INBOX: usize = 65_536;
/// The size of the buffer for events: several hundred.
const BUFFER: usize = 32 << 10;
/// The bytes of an event without a name.
const MIN_EVENT: u64 = 16;

/// An event of inotify(7).
#[derive(Debug, Clone)]
pub(super) struct RawEvent {
    pub(super) directory: i32,
    pub(super) flags: ReadFlags,
    pub(super) cookie: u32,
    pub(super) name: Option<Vec<u8>>,
}

impl RawEvent {
    fn from_inotify(event: &inotify::Event<'_>) -> Self {
        Self {
            directory: event.wd(),
            flags: event.events(),
            cookie: event.cookie(),
            name: event.file_name().map(|name| name.to_bytes().to_vec()),
        }
    }
}

/// The events of one watch that it has not processed yet.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    events: Mutex<VecDeque<RawEvent>>,
    arrived: Notify,
}

/// The inotify instance of a server. Dropping it closes it.
pub(super) struct Instance {
    shared: Arc<Shared>,
    /// The thread that passes events on ends when this is closed.
    _stop: OwnedFd,
}

struct Shared {
    inotify: OwnedFd,
    /// The inboxes of each directory.
    routes: Mutex<HashMap<i32, Vec<Weak<Inbox>>>>,
}

impl Inbox {
    /// Takes all events.
    pub(super) fn take(&self) -> VecDeque<RawEvent> {
        std::mem::take(&mut *lock(&self.events))
    }

    /// Waits for events.
    pub(super) async fn wait(&self) {
        self.arrived.notified().await;
    }

    fn push(&self, event: RawEvent) {
        let mut events = lock(&self.events);
        if events.len() < MAX_INBOX {
            events.push_back(event);
        } else if events
            .back()
            .is_some_and(|last| !last.flags.contains(ReadFlags::QUEUE_OVERFLOW))
        {
            events.push_back(RawEvent {
                directory: -1,
                flags: ReadFlags::QUEUE_OVERFLOW,
                cookie: 0,
                name: None,
            });
        }
        drop(events);
        self.arrived.notify_one();
    }
}

impl Instance {
    /// Opens an instance, and starts the thread that passes its events on.
    ///
    /// # Errors
    ///
    /// `EMFILE` if the user has too many.
    pub(super) fn open() -> io::Result<Self> {
        let shared = Arc::new(Shared {
            inotify: inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)?,
            routes: Mutex::default(),
        });
        let (stopped, stop) = pipe_with(PipeFlags::CLOEXEC)?;
        let passing_on = Arc::clone(&shared);
        std::thread::Builder::new()
            .name("watches".to_owned())
            .spawn(move || passing_on.pass_on_until(&stopped))?;
        Ok(Self {
            shared,
            _stop: stop,
        })
    }

    /// Watches a directory: what happens in it from now on arrives in this inbox. `follow` says whether the path may
    /// be a link. Watching a directory again changes nothing.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if too many are watched.
    pub(super) fn add(&self, path: &Path, follow: bool, inbox: &Arc<Inbox>) -> Result<i32, Errno> {
        let mut flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::DELETE_SELF
            | WatchFlags::MODIFY
            | WatchFlags::ATTRIB
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::MOVE_SELF
            | WatchFlags::EXCL_UNLINK
            | WatchFlags::ONLYDIR;
        flags.set(WatchFlags::DONT_FOLLOW, !follow);
        let mut routes = lock(&self.shared.routes);
        // Another watch may have it already, and what has happened before is not for this one.
        self.shared.drain_into(&mut routes);
        if routes.len() >= MAX_DIRECTORIES {
            return Err(Errno::NOSPC);
        }
        let directory = inotify::add_watch(&self.shared.inotify, path, flags)?;
        let inboxes = routes.entry(directory).or_default();
        let weak = Arc::downgrade(inbox);
        if !inboxes.iter().any(|known| known.ptr_eq(&weak)) {
            inboxes.push(weak);
        }
        Ok(directory)
    }

    /// Ends the watching of directories for this inbox.
    pub(super) fn remove(&self, directories: impl Iterator<Item = i32>, inbox: &Arc<Inbox>) {
        let weak = Arc::downgrade(inbox);
        let mut routes = lock(&self.shared.routes);
        for directory in directories {
            let Some(inboxes) = routes.get_mut(&directory) else {
                continue;
            };
            inboxes.retain(|known| !known.ptr_eq(&weak));
            if inboxes.is_empty() {
                routes.remove(&directory);
                // It fails if the directory was deleted meanwhile.
                inotify::remove_watch(&self.shared.inotify, directory).ok();
            }
        }
    }

    /// Passes on all events that have happened by now.
    pub(super) fn drain(&self) {
        self.shared.drain_into(&mut lock(&self.shared.routes));
    }
}

impl Shared {
    /// Passes on events as they happen, until the other end of this pipe is closed.
    fn pass_on_until(&self, stopped: &OwnedFd) {
        loop {
            let mut fds = [
                PollFd::new(&self.inotify, PollFlags::IN),
                PollFd::new(stopped, PollFlags::IN),
            ];
            match poll(&mut fds, None) {
                Ok(_) if fds[1].revents().is_empty() => self.drain_into(&mut lock(&self.routes)),
                Err(Errno::INTR) => {}
                Ok(_) => return,
                Err(error) => {
                    tracing::error!(%error, "watches stopped");
                    return;
                }
            }
        }
    }

    /// Passes on the events that are waiting.
    fn drain_into(&self, routes: &mut HashMap<i32, Vec<Weak<Inbox>>>) {
        // Not until there are none: something may write without a pause.
        let waiting = rustix::io::ioctl_fionread(&self.inotify).unwrap_or(0);
        let mut buffer = [MaybeUninit::uninit(); BUFFER];
        let mut reader = Reader::new(&self.inotify, &mut buffer);
        let mut left = waiting / MIN_EVENT;
        // The buffer may have more than was waiting.
        while left > 0 || !reader.is_buffer_empty() {
            left = left.saturating_sub(1);
            match reader.next() {
                Ok(event) => pass_on(routes, RawEvent::from_inotify(&event)),
                Err(Errno::INTR) => {}
                // There are no more.
                Err(_) => return,
            }
        }
    }
}

fn pass_on(routes: &mut HashMap<i32, Vec<Weak<Inbox>>>, event: RawEvent) {
    if event.flags.contains(ReadFlags::QUEUE_OVERFLOW) {
        for inbox in routes.values().flatten().filter_map(Weak::upgrade) {
            inbox.push(event.clone());
        }
        return;
    }
    let inboxes = if event.flags.contains(ReadFlags::IGNORED) {
        routes.remove(&event.directory)
    } else {
        routes.get(&event.directory).cloned()
    };
    for inbox in inboxes.iter().flatten().filter_map(Weak::upgrade) {
        inbox.push(event.clone());
    }
}
