//! The shared processes of a sandbox: those that run, and for a while those that have ended.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox_core::guest::{ProcessSelector, Refusal, RefusalCode};
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use super::invalid;
use super::process::SharedProcess;
use crate::channel::pump::LARGE;
use crate::config::ServerConfig;
use crate::lifetime::Lifetime;
use crate::lock::lock;
use crate::process::spawn::Spawner;

/// How many shared processes run at once. As many of those that have ended are remembered.
pub(super) const MAX_RUNNING: usize = 1024;
/// How long the end of a process is remembered.
const RETENTION: Duration = Duration::from_secs(30);

/// The shared processes of a sandbox.
pub(crate) struct SharedProcesses {
    pub(super) config: Arc<ServerConfig>,
    pub(super) spawner: Arc<Spawner>,
    pub(super) lifetime: Arc<Lifetime>,
    /// One for each process that may still be started.
    pub(super) permits: Arc<Semaphore>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_number: u64,
    /// In the order of their starts.
    processes: BTreeMap<u64, Record>,
}

struct Record {
    process: Arc<SharedProcess>,
    /// Cancelled when the record is removed.
    removed: CancellationToken,
}

/// The record of one process, as its task has it.
pub(super) struct Entry {
    registry: Arc<SharedProcesses>,
    number: u64,
    removed: CancellationToken,
}

impl SharedProcesses {
    pub(crate) fn new(
        config: Arc<ServerConfig>,
        spawner: Arc<Spawner>,
        lifetime: Arc<Lifetime>,
    ) -> Arc<Self> {
        Arc::new(Self {
            config,
            spawner,
            lifetime,
            permits: Arc::new(Semaphore::new(MAX_RUNNING)),
            state: Mutex::default(),
        })
    }

    /// Finds a process that runs, or that has ended a short time ago. Of several the last one counts.
    pub(super) fn find(&self, selector: &ProcessSelector) -> Result<Arc<SharedProcess>, Refusal> {
        let state = lock(&self.state);
        let find = |is_meant: &dyn Fn(&SharedProcess) -> bool| {
            let mut processes = state.processes.values().rev();
            processes.find(|record| is_meant(&record.process))
        };
        let (found, name) = match selector {
            ProcessSelector::Pid(pid) => (
                find(&|process| process.pid() == *pid),
                format!("the id {pid}"),
            ),
            ProcessSelector::Tag(tag) => (
                find(&|process| process.tag() == Some(tag)),
                format!("the tag {tag:?}"),
            ),
            _ => {
                return Err(invalid(
                    "this server does not know how the process is selected",
                ));
            }
        };
        found.map_or_else(
            || {
                Err(Refusal::new(
                    RefusalCode::NotFound,
                    format!("there is no shared process with {name}"),
                ))
            },
            |record| Ok(Arc::clone(&record.process)),
        )
    }

    /// Finds a process that runs.
    pub(super) fn find_running(
        &self,
        selector: &ProcessSelector,
    ) -> Result<Arc<SharedProcess>, Refusal> {
        let process = self.find(selector)?;
        if process.has_exited() {
            return Err(process.ended());
        }
        Ok(process)
    }

    /// Returns those that run, the oldest first.
    pub(super) fn running(&self) -> Vec<Arc<SharedProcess>> {
        let state = lock(&self.state);
        let processes = state.processes.values().map(|record| &record.process);
        processes
            .filter(|process| !process.has_exited())
            .cloned()
            .collect()
    }

    /// Records a process, in place of the one that ended first if there are too many.
    pub(super) fn insert(self: &Arc<Self>, process: Arc<SharedProcess>) -> Entry {
        let removed = CancellationToken::new();
        let mut state = lock(&self.state);
        if state.processes.len() >= 2 * MAX_RUNNING {
            let ended = |(_, record): &(&u64, &Record)| record.process.outcome().is_some();
            let oldest = state
                .processes
                .iter()
                .find(ended)
                .map(|(number, _)| *number);
            if let Some(record) = oldest.and_then(|number| state.processes.remove(&number)) {
                record.removed.cancel();
            }
        }
        let number = state.next_number;
        state.next_number += 1;
        let record = Record {
            process,
            removed: removed.clone(),
        };
        state.processes.insert(number, record);
        drop(state);
        Entry {
            registry: Arc::clone(self),
            number,
            removed,
        }
    }
}

impl Entry {
    /// Remembers the end of the process for a while, and reads what others still write to its output, so that
    /// they are not blocked.
    pub(super) async fn retire(self, held: Vec<Box<dyn AsyncRead + Send + Unpin>>) {
        let forgetting = async {
            tokio::select! {
                () = tokio::time::sleep(RETENTION) => {}
                () = self.removed.cancelled() => {}
            }
            lock(&self.registry.state).processes.remove(&self.number);
        };
        let mut held = held.into_iter();
        tokio::join!(forgetting, drain(held.next()), drain(held.next()));
    }
}

async fn drain(output: Option<Box<dyn AsyncRead + Send + Unpin>>) {
    let Some(mut output) = output else { return };
    let mut buffer = Vec::with_capacity(LARGE);
    while let Ok(1..) = output.read_buf(&mut buffer).await {
        buffer.clear();
    }
}
