//! Watches whose events are kept until a client takes them.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, Weak};
use std::time::Duration;

use sandbox_core::Uid;
use sandbox_core::guest::{FileEvent, Refusal, RefusalCode, WatchOptions};
use tokio::task::AbortHandle;
use tokio::time::Instant;

use super::watcher::Watcher;
use super::{EVENTS_AT_ONCE, Watches};
use crate::guest::Stop;
use crate::guest::client::Client;
use crate::guest::threads::run_blocking;
use crate::lock::lock;

/// How long a watcher is kept after its events were last taken.
const KEPT_FOR: Duration = Duration::from_secs(300);

/// The kept watchers of a server, by their ids.
#[derive(Default)]
pub(super) struct KeptWatchers(Mutex<HashMap<String, Arc<Kept>>>);

struct Kept {
    watcher: Arc<Watcher>,
    options: WatchOptions,
    last_taken: Mutex<Instant>,
    /// The task that processes what happens, and ends the watcher.
    task: Mutex<Option<AbortHandle>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(task) = lock(&self.task).take() {
            task.abort();
        }
    }
}

/// Begins a watch that is kept, and returns its id.
pub(in crate::guest) async fn create_kept(
    watches: &Arc<Watches>,
    top: PathBuf,
    options: WatchOptions,
) -> Result<String, Stop> {
    let id = Uid::generate().map_err(|error| {
        let message = format!("cannot name the watcher: {error}");
        Refusal::new(RefusalCode::Other, message)
    })?;
    let id = id.to_string();
    let watching = Arc::clone(watches);
    let (watcher, options) = run_blocking(move || {
        let watcher = watching.watch(top, &options)?;
        Ok((watcher, options))
    })
    .await?;
    let kept = Arc::new(Kept {
        watcher,
        options,
        last_taken: Mutex::new(Instant::now()),
        task: Mutex::default(),
    });
    let task = tokio::spawn(keep(
        Arc::downgrade(watches),
        id.clone(),
        Arc::downgrade(&kept),
    ));
    *lock(&kept.task) = Some(task.abort_handle());
    lock(&watches.kept.0).insert(id.clone(), kept);
    Ok(id)
}

/// Sends the events of a watcher.
pub(in crate::guest) async fn send_kept(
    client: &Client<'_>,
    watches: &Arc<Watches>,
    id: &str,
) -> Result<(), Stop> {
    let kept = lock(&watches.kept.0).get(id).map(Arc::clone);
    let kept = kept.ok_or_else(unknown)?;
    *lock(&kept.last_taken) = Instant::now();
    // All that has happened by now, and no more: something may happen without a pause.
    let processing = Arc::clone(&kept);
    let mut left = run_blocking(move || Ok(processing.watcher.process())).await?;
    while left > 0 {
        let (kept, watches) = (Arc::clone(&kept), Arc::clone(watches));
        let count = left.min(EVENTS_AT_ONCE);
        let taking = move || {
            let mut describer = watches.describer(&kept.options);
            Ok(kept.watcher.take(count, describer.as_mut()))
        };
        let events: Vec<FileEvent> = run_blocking(taking).await?;
        if events.is_empty() {
            break;
        }
        left = left.saturating_sub(events.len());
        client.send_all(&events).await?;
    }
    client.end_content().await
}

/// Ends a watcher.
pub(in crate::guest) fn remove_kept(watches: &Watches, id: &str) -> Result<(), Refusal> {
    match lock(&watches.kept.0).remove(id) {
        Some(_) => Ok(()),
        None => Err(unknown()),
    }
}

/// Processes what happens, until nobody has taken events for a while.
async fn keep(watches: Weak<Watches>, id: String, kept: Weak<Kept>) {
    loop {
        let Some(watcher) = kept.upgrade().map(|kept| Arc::clone(&kept.watcher)) else {
            return;
        };
        let Some(end) = kept
            .upgrade()
            .map(|kept| *lock(&kept.last_taken) + KEPT_FOR)
        else {
            return;
        };
        tokio::select! {
            () = watcher.wait() => {
                let processing = run_blocking(move || Ok(watcher.process()));
                if processing.await.is_err() {
                    return;
                }
            }
            () = tokio::time::sleep_until(end) => {
                let is_due = kept
                    .upgrade()
                    .is_none_or(|kept| *lock(&kept.last_taken) + KEPT_FOR <= Instant::now());
                if is_due {
                    if let Some(watches) = watches.upgrade() {
                        lock(&watches.kept.0).remove(&id);
                    }
                    return;
                }
            }
        }
    }
}

fn unknown() -> Refusal {
    let message = format!(
        "there is no such watcher: it was removed, or its events were not taken for {} minutes; create one anew",
        KEPT_FOR.as_secs() / 60
    );
    Refusal::new(RefusalCode::NotFound, message)
}
