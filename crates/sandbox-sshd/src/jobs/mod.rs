//! Commands that outlive the client that started them.

mod attach;
mod log;

use std::collections::HashMap;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use sandbox_core::protocol::JobRecord;
use tokio::net::unix::pipe;
use tokio::process::Child;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub(crate) use attach::{Attach, attach, list};
use log::JobLog;

use crate::launch::{CannotLaunch, Launch};
use crate::lifetime::{InUse, Lifetime, Use};
use crate::output::Exit;
use crate::processes::{Leader, Processes};
use crate::pump::Tail;

/// Most jobs that are remembered; one more, and the one that ended first is forgotten.
const MOST: usize = 1024;

/// The jobs of this sandbox, running and ended.
pub(crate) struct Jobs {
    directory: PathBuf,
    log_cap: u64,
    processes: Arc<Processes>,
    lifetime: Arc<Lifetime>,
    jobs: Mutex<HashMap<String, Arc<Job>>>,
    /// Held by the one that is starting, so that an id is taken once.
    starting: tokio::sync::Mutex<()>,
}

/// One job.
pub(crate) struct Job {
    id: String,
    program: String,
    started_ms: u64,
    log: JobLog,
    leader: Mutex<Option<Leader>>,
    pid: u32,
    state: watch::Sender<JobState>,
}

/// How far a job is.
#[derive(Debug, Clone, Default)]
struct JobState {
    exit: Option<Exit>,
    /// All that it wrote itself is in the log.
    log_complete: bool,
    ended_ms: u64,
}

impl Jobs {
    pub(crate) fn new(
        home: &std::path::Path,
        log_cap: u64,
        processes: Arc<Processes>,
        lifetime: Arc<Lifetime>,
    ) -> Arc<Self> {
        let directory = home.join(".sandbox/jobs");
        Arc::new(Self {
            directory,
            log_cap,
            processes,
            lifetime,
            jobs: Mutex::default(),
            starting: Default::default(),
        })
    }

    pub(crate) fn get(&self, id: &str) -> Option<Arc<Job>> {
        self.jobs().get(id).cloned()
    }

    /// Starts a job.
    pub(crate) async fn start(
        self: &Arc<Self>,
        id: &str,
        launch: Launch,
    ) -> Result<(), CannotLaunch> {
        check_id(id)?;
        let _starting = self.starting.lock().await;
        self.make_room(id)?;
        let log = JobLog::create(&self.directory.join(id), self.log_cap)
            .map_err(|error| refusal(format!("the log of job {id} cannot be made: {error}")))?;
        let spawn = |launch: &Launch| {
            let (output, input) = std::io::pipe()?;
            let errors = input.try_clone()?;
            // Ends at once: there may be no /dev/null in this image.
            let (nothing, _) = std::io::pipe()?;
            let child = crate::spawn::grouped(
                launch,
                [
                    Stdio::from(nothing),
                    Stdio::from(input),
                    Stdio::from(errors),
                ],
            )?;
            let output = OwnedFd::from(output);
            Ok((child, pipe::Receiver::from_owned_fd(output)?))
        };
        let (child, leader, output) = crate::spawn::start(&self.processes, &launch, spawn).await?;
        let program = launch
            .argv
            .first()
            .map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        let job = Arc::new(Job {
            id: id.to_owned(),
            program,
            started_ms: now_ms(),
            log,
            pid: leader.pid().as_raw().cast_unsigned(),
            leader: Mutex::new(Some(leader)),
            state: watch::Sender::default(),
        });
        self.jobs().insert(id.to_owned(), Arc::clone(&job));
        let running = self.lifetime.begin(Use::Job);
        tokio::spawn(async move { job.run(child, output, running).await });
        Ok(())
    }

    pub(crate) fn records(&self) -> Vec<JobRecord> {
        let mut records: Vec<JobRecord> = self.jobs().values().map(|job| job.record()).collect();
        records.sort_by(|a, b| (a.started_ms, &a.id).cmp(&(b.started_ms, &b.id)));
        records
    }

    /// Makes sure that there is room for one more.
    fn make_room(&self, id: &str) -> Result<(), CannotLaunch> {
        let mut jobs = self.jobs();
        if jobs.contains_key(id) {
            return Err(refusal(format!("there is a job {id} already")));
        }
        if jobs.len() < MOST {
            return Ok(());
        }
        let ended = jobs.values().filter(|job| job.state.borrow().log_complete);
        let Some(oldest) = ended
            .min_by_key(|job| job.state.borrow().ended_ms)
            .map(|job| job.id.clone())
        else {
            return Err(refusal(format!(
                "{MOST} jobs are running, which is the most"
            )));
        };
        if let Some(job) = jobs.remove(&oldest) {
            job.log.remove(&self.directory.join(&oldest));
        }
        Ok(())
    }

    fn jobs(&self) -> MutexGuard<'_, HashMap<String, Arc<Job>>> {
        self.jobs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Job {
    /// Waits for the job's end and keeps what it writes; then what its background processes
    /// write, as long as there are any.
    async fn run(&self, mut child: Child, output: pipe::Receiver, running: InUse) {
        let exited = CancellationToken::new();
        let writing = async {
            let mut tail = Tail::new(output, &exited);
            while let Some(data) = tail.next().await {
                self.log.append(&data);
            }
            tail.into_reader()
        };
        let waiting = async {
            let status = child.wait().await;
            self.leader().take();
            let exit = status.map_or(Exit::Code(255), Exit::from);
            self.state.send_modify(|state| {
                state.exit = Some(exit);
                state.ended_ms = now_ms();
            });
            exited.cancel();
        };
        let (output, ()) = tokio::join!(writing, waiting);
        self.state.send_modify(|state| state.log_complete = true);
        drop(running);
        let never = CancellationToken::new();
        let mut rest = Tail::new(output, &never);
        while let Some(data) = rest.next().await {
            self.log.append(&data);
        }
    }

    /// Signals the job's process group; nothing when it has ended.
    fn signal(&self, signal: &sandbox_core::Signal) {
        if let Some(leader) = self.leader().as_ref() {
            crate::command::pass_on(leader, signal);
        }
    }

    fn record(&self) -> JobRecord {
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

    fn leader(&self) -> MutexGuard<'_, Option<Leader>> {
        self.leader.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An id is a file name of ours too.
fn check_id(id: &str) -> Result<(), CannotLaunch> {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    if id.is_empty() || id.len() > 64 || !id.bytes().all(good) {
        return Err(refusal(
            "a job's id is 1 to 64 letters, digits, '-' or '_'".into(),
        ));
    }
    Ok(())
}

/// Neither the program's fault nor the system's.
fn refusal(message: String) -> CannotLaunch {
    CannotLaunch { code: 125, message }
}

fn now_ms() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_be_a_path() {
        for good in ["a", "build-1_B", &"x".repeat(64)] {
            assert!(check_id(good).is_ok(), "{good:?}");
        }
        for bad in ["", ".", "..", "a/b", "a b", "ä", "a\0", &"x".repeat(65)] {
            assert_eq!(check_id(bad).unwrap_err().code, 125, "{bad:?}");
        }
    }
}
