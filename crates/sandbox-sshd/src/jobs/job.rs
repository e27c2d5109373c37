//! One job: its process, its log and its state.

use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use sandbox_core::FilePath;
use sandbox_core::protocol::JobRecord;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::log::JobLog;
use crate::channel::output::Exit;
use crate::channel::pump::{OutputEnd, OutputReader};
use crate::lifetime::ActivityGuard;
use crate::lock::lock;
use crate::process::table::Leader;

/// One job.
pub(crate) struct Job {
    id: String,
    program: FilePath,
    started_ms: u64,
    log: JobLog,
    /// Present until the process is reaped.
    leader: Mutex<Option<Leader>>,
    pid: u32,
    state: watch::Sender<JobState>,
}

/// The progress of a job.
#[derive(Debug, Clone, Default)]
pub(super) struct JobState {
    pub(super) exit: Option<Exit>,
    /// The log has all output of the job's own process, and of others up to the output grace.
    pub(super) log_complete: bool,
    /// A process that the job has left behind still writes to the log.
    pub(super) output_held: bool,
    pub(super) ended_ms: u64,
}

impl Job {
    pub(super) fn new(id: &str, program: FilePath, log: JobLog, leader: Leader) -> Arc<Self> {
        Arc::new(Self {
            id: id.to_owned(),
            program,
            started_ms: now_ms(),
            log,
            pid: leader.pid().as_raw().cast_unsigned(),
            leader: Mutex::new(Some(leader)),
            state: watch::Sender::default(),
        })
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn log(&self) -> &JobLog {
        &self.log
    }

    pub(super) fn state(&self) -> watch::Ref<'_, JobState> {
        self.state.borrow()
    }

    /// Returns a receiver that is notified when the state changes.
    pub(super) fn subscribe(&self) -> watch::Receiver<JobState> {
        self.state.subscribe()
    }

    /// Logs the output of the job until its process has ended, then the output of its background
    /// processes, if there are any.
    pub(super) async fn run(
        &self,
        mut child: Child,
        output: pipe::Receiver,
        output_grace: Duration,
        activity: ActivityGuard,
    ) {
        let exited = CancellationToken::new();
        let logging = async {
            let end = OutputEnd {
                exited: &exited,
                grace: output_grace,
            };
            let mut reader = OutputReader::new(output, end);
            while let Some(data) = reader.next().await {
                self.log.append(&data);
            }
            (reader.is_held(), reader.into_inner())
        };
        let waiting = async {
            let status = child.wait().await;
            lock(&self.leader).take();
            let exit = status.map_or(Exit::Code(255), Exit::from);
            self.state.send_modify(|state| {
                state.exit = Some(exit);
                state.ended_ms = now_ms();
            });
            exited.cancel();
        };
        let ((output_held, output), ()) = tokio::join!(logging, waiting);
        self.state.send_modify(|state| {
            state.log_complete = true;
            state.output_held = output_held;
        });
        // Background processes do not keep the sandbox alive.
        drop(activity);
        let never = CancellationToken::new();
        let end = OutputEnd {
            exited: &never,
            grace: output_grace,
        };
        let mut reader = OutputReader::new(output, end);
        while let Some(data) = reader.next().await {
            self.log.append(&data);
        }
        self.state.send_modify(|state| state.output_held = false);
    }

    /// Signals the job's process group, unless the job has ended.
    pub(super) fn signal(&self, signal: &sandbox_core::Signal) {
        if let Some(leader) = lock(&self.leader).as_ref() {
            leader.deliver_signal(signal);
        }
    }

    pub(super) fn record(&self) -> JobRecord {
        let state = self.state.borrow();
        let (log_bytes, dropped_bytes) = self.log.size();
        let (exit_code, exit_signal) = match &state.exit {
            Some(Exit::Code(code)) => (Some(*code), None),
            Some(Exit::Signal { signal, .. }) => (None, Some(signal.name().to_owned())),
            None => (None, None),
        };
        JobRecord {
            id: self.id.clone(),
            program: self.program.clone(),
            pid: self.pid,
            started_ms: self.started_ms,
            log_bytes,
            dropped_bytes,
            exit_code,
            exit_signal,
        }
    }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}
