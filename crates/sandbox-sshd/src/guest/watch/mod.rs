//! Watches of directories.
//!
//! What the server itself creates is watched before the client learns of it ([`Watches::settle`]), so a client that
//! creates a directory and then a file in it gets the same events each time.

mod directories;
mod events;
mod instance;
mod kept;
mod moves;
mod network;
mod watcher;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, Weak};

use rustix::io::Errno;
use sandbox_core::FilePath;
use sandbox_core::guest::{Done, FileEvent, Refusal, RefusalCode, WatchOptions};
use tokio::sync::Semaphore;

use self::instance::Instance;
use self::kept::KeptWatchers;
pub(super) use self::kept::{create_kept, remove_kept, send_kept};
use self::network::find_network_type;
use self::watcher::Watcher;
use super::Stop;
use super::client::Client;
use super::entry::{Describer, NameFiles};
use super::refusals::refuse_file;
use super::threads::run_blocking;
use crate::lock::lock;

/// The most watches of a server.
const MAX_WATCHERS: usize = 64;
/// Events that are sent at once.
const EVENTS_AT_ONCE: usize = 128;

/// The watches of one server.
pub(super) struct Watches {
    names: Arc<NameFiles>,
    permits: Arc<Semaphore>,
    /// It is open while something is watched.
    instance: Mutex<Weak<Instance>>,
    watchers: Mutex<Vec<Weak<Watcher>>>,
    kept: KeptWatchers,
}

impl Watches {
    pub(super) fn new(names: Arc<NameFiles>) -> Arc<Self> {
        Arc::new(Self {
            names,
            permits: Arc::new(Semaphore::new(MAX_WATCHERS)),
            instance: Mutex::default(),
            watchers: Mutex::default(),
            kept: KeptWatchers::default(),
        })
    }

    /// Watches directories that were created at this path, or as its parents, before anything is created in them. It blocks.
    pub(super) fn settle(&self, path: &Path) {
        let watchers = lock(&self.watchers).clone();
        for watcher in watchers.iter().filter_map(Weak::upgrade) {
            if watcher.includes(path) {
                watcher.process();
            }
        }
    }

    /// Begins a watch. It blocks.
    fn watch(&self, top: PathBuf, options: &WatchOptions) -> Result<Arc<Watcher>, Refusal> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| {
            let message = format!(
                "cannot watch {:?}: there are {MAX_WATCHERS} watches already; end some first",
                FilePath::from(&top)
            );
            Refusal::new(RefusalCode::LimitReached, message)
        })?;
        if !options.allow_network_mounts
            && let Some(kind) = find_network_type(&top)
        {
            let message = format!(
                "cannot watch {:?}: it is on a network file system ({kind}), where changes by other machines \
                 are not reported; allow network mounts to watch it all the same",
                FilePath::from(&top)
            );
            return Err(Refusal::new(RefusalCode::Unsupported, message));
        }
        let instance = self.open_instance(&top)?;
        let watcher = Watcher::new(instance, top, options.recursive, permit)?;
        let watcher = Arc::new(watcher);
        let mut watchers = lock(&self.watchers);
        watchers.retain(|watcher| watcher.strong_count() > 0);
        watchers.push(Arc::downgrade(&watcher));
        Ok(watcher)
    }

    fn open_instance(&self, top: &Path) -> Result<Arc<Instance>, Refusal> {
        let mut shared = lock(&self.instance);
        if let Some(instance) = shared.upgrade() {
            return Ok(instance);
        }
        let instance = Instance::open().map_err(|error| refuse_instance(top, error))?;
        let instance = Arc::new(instance);
        *shared = Arc::downgrade(&instance);
        Ok(instance)
    }

    fn describer(&self, options: &WatchOptions) -> Option<Describer> {
        options
            .with_entries
            .then(|| Describer::new(self.names.read()))
    }
}

/// Watches a directory until the channel is closed.
pub(super) async fn serve(
    client: &Client<'_>,
    watches: &Arc<Watches>,
    top: PathBuf,
    options: WatchOptions,
) -> Result<(), Stop> {
    let options = Arc::new(options);
    let watcher = {
        let (watches, options) = (Arc::clone(watches), Arc::clone(&options));
        run_blocking(move || watches.watch(top, &options)).await?
    };
    client.send(&Done::default()).await?;
    loop {
        let events = next_events(watches, &watcher, &options).await?;
        client.send_all(&events).await?;
        if events.is_empty() {
            if watcher.is_ended() {
                return client.end_content().await;
            }
            watcher.wait().await;
        }
    }
}

/// Returns the next events that have happened.
async fn next_events(
    watches: &Arc<Watches>,
    watcher: &Arc<Watcher>,
    options: &Arc<WatchOptions>,
) -> Result<Vec<FileEvent>, Stop> {
    let (watches, watcher) = (Arc::clone(watches), Arc::clone(watcher));
    let options = Arc::clone(options);
    run_blocking(move || {
        watcher.process();
        let mut describer = watches.describer(&options);
        Ok(watcher.take(EVENTS_AT_ONCE, describer.as_mut()))
    })
    .await
}

fn refuse_instance(top: &Path, error: io::Error) -> Refusal {
    if error.raw_os_error() != Some(Errno::MFILE.raw_os_error()) {
        return refuse_file("watch", top, error);
    }
    let message = format!(
        "cannot watch {:?}: the user has as many inotify instances as the system allows; raise \
         fs.inotify.max_user_instances on the node, or end other watches",
        FilePath::from(top)
    );
    Refusal::new(RefusalCode::LimitReached, message)
}
