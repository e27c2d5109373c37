//! The processes of the sandbox: those that the server started, the orphans it reaps, and their
//! termination.

use std::collections::HashSet;
use std::io;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::Notify;

use super::listing::list_processes;
use crate::lock::lock;

/// Interval at which a termination checks for remaining processes.
const POLL_INTERVAL: Duration = Duration::from_millis(10);

/// Flags of waitid(2) that report an ended child without reaping it and without blocking.
const PEEK: WaitPidFlag = WaitPidFlag::WEXITED
    .union(WaitPidFlag::WNOHANG)
    .union(WaitPidFlag::WNOWAIT);

/// The processes that this server has started and not yet reaped.
#[derive(Default)]
pub(crate) struct ProcessTable {
    started: Mutex<Started>,
    /// Notified when a leader was reaped.
    leader_reaped: Notify,
}

#[derive(Default)]
struct Started {
    /// The pids of the started processes, each the leader of a process group.
    leaders: HashSet<i32>,
    /// Whether the sandbox is paused: nothing is started, and nothing is continued.
    is_paused: bool,
    /// The groups that a client has asked to continue while the sandbox was paused.
    to_continue: HashSet<i32>,
}

/// The sandbox is paused, so nothing is started in it.
#[derive(Debug, thiserror::Error)]
#[error("the sandbox is paused; resume it first (sandbox resume)")]
pub(crate) struct IsPaused;

/// One started process, the leader of a process group of its own.
pub(crate) struct Leader {
    processes: Arc<ProcessTable>,
    pid: Pid,
}

impl ProcessTable {
    /// Starts a process by calling `spawn`, which must put it into a process group of its own.
    ///
    /// # Errors
    ///
    /// Those of `spawn`, and one that wraps [`IsPaused`] while the sandbox is paused.
    pub(crate) fn spawn<T>(
        self: &Arc<Self>,
        spawn: impl FnOnce() -> io::Result<(Child, T)>,
    ) -> io::Result<(Child, Leader, T)> {
        // The lock is held during the start, so that the reaper does not take a child that is not
        // yet listed for an orphan.
        let mut started = self.started();
        if started.is_paused {
            return Err(io::Error::other(IsPaused));
        }
        let (child, streams) = spawn()?;
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(id) = id else {
            return Err(io::Error::other("the process ended before it had an id"));
        };
        started.leaders.insert(id);
        Ok((
            child,
            Leader {
                processes: Arc::clone(self),
                pid: Pid::from_raw(id),
            },
            streams,
        ))
    }

    /// Returns the number of processes that were started and not yet reaped.
    pub(crate) fn count(&self) -> usize {
        self.started().leaders.len()
    }

    /// Whether the sandbox is paused.
    pub(crate) fn is_paused(&self) -> bool {
        self.started().is_paused
    }

    /// Starts nothing from here on.
    pub(crate) fn forbid_starts(&self) {
        self.started().is_paused = true;
    }

    /// Starts processes again, and continues those that a client has asked to continue meanwhile.
    pub(crate) fn allow_starts(&self) {
        let mut started = self.started();
        started.is_paused = false;
        for group in std::mem::take(&mut started.to_continue) {
            if started.leaders.contains(&group) {
                // This fails if the group has just ended.
                killpg(Pid::from_raw(group), Signal::SIGCONT).ok();
            }
        }
    }

    /// Reaps orphans until the future is dropped.
    ///
    /// # Errors
    ///
    /// If no handler for SIGCHLD can be installed.
    pub(crate) async fn reap_orphans(&self) -> io::Result<()> {
        let mut child_ended =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        loop {
            self.reap_ended_orphans();
            tokio::select! {
                _ = child_ended.recv() => {}
                () = self.leader_reaped.notified() => {}
            }
        }
    }

    fn reap_ended_orphans(&self) {
        loop {
            let started = self.started();
            let ended = match waitid(Id::All, PEEK) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status.pid(),
                Err(Errno::EINTR) => continue,
                Err(error) => return tracing::warn!(%error, "waitid failed; orphans not reaped"),
            };
            match ended {
                // The task that owns this leader reaps it, which notifies this one to continue with
                // the children behind it.
                Some(pid) if started.leaders.contains(&pid.as_raw()) => return,
                Some(pid) => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))),
                None => return,
            }
        }
    }

    /// Ends the started processes, and all others of the sandbox if `with_orphans`: SIGTERM, and
    /// after `grace` SIGKILL.
    pub(crate) async fn terminate(&self, grace: Duration, with_orphans: bool) {
        let deadline = tokio::time::Instant::now() + grace;
        self.signal_all(Signal::SIGTERM, with_orphans);
        self.signal_all(Signal::SIGCONT, with_orphans);
        while tokio::time::Instant::now() < deadline && self.has_processes(with_orphans) {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        // A process that is being killed may have started another, so this repeats until none is
        // left. The number of rounds is bounded, because a process in uninterruptible sleep cannot
        // be killed.
        for _ in 0..100 {
            if !self.has_processes(with_orphans) {
                return;
            }
            self.signal_all(Signal::SIGKILL, with_orphans);
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    }

    fn signal_all(&self, signal: Signal, with_orphans: bool) {
        for &leader in &self.started().leaders {
            // This fails if the group has just ended.
            killpg(Pid::from_raw(leader), signal).ok();
        }
        if with_orphans && is_init() {
            // kill(-1) signals all processes except this one, and needs no /proc.
            kill(Pid::from_raw(-1), signal).ok();
        } else if with_orphans {
            for process in list_processes().unwrap_or_default() {
                kill(process.pid, signal).ok();
            }
        }
    }

    fn has_processes(&self, with_orphans: bool) -> bool {
        if !self.started().leaders.is_empty() {
            return true;
        }
        if !with_orphans {
            return false;
        }
        self.reap_ended_orphans();
        (is_init() && waitid(Id::All, PEEK) != Err(Errno::ECHILD))
            || list_processes().is_ok_and(|processes| !processes.is_empty())
    }

    fn started(&self) -> MutexGuard<'_, Started> {
        lock(&self.started)
    }
}

/// Whether this process is PID 1, which adopts all orphans.
pub(super) fn is_init() -> bool {
    nix::unistd::getpid().as_raw() == 1
}

impl Leader {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the whole group. The caller must not have reaped the leader yet, because after that
    /// its pid may belong to another process. While the sandbox is paused, nothing continues: SIGCONT is sent
    /// when it is resumed.
    pub(crate) fn signal_group(&self, signal: Signal) {
        let mut started = self.processes.started();
        if signal == Signal::SIGCONT && started.is_paused {
            started.to_continue.insert(self.pid.as_raw());
            return;
        }
        drop(started);
        // This fails if the group has just ended.
        killpg(self.pid, signal).ok();
    }

    /// Sends a signal that the client requested, if this system has it.
    pub(crate) fn deliver_signal(&self, signal: &sandbox_core::Signal) {
        match Signal::from_str(&format!("SIG{signal}")) {
            Ok(signal) => self.signal_group(signal),
            Err(_) => tracing::debug!(%signal, "signal not supported by this system; ignored"),
        }
    }

    /// Whether the sandbox is paused, so that the group cannot react to a signal.
    pub(crate) fn is_paused(&self) -> bool {
        self.processes.is_paused()
    }

    /// Whether the leader has ended. It is not reaped, so its pid stays reserved.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(waitid(Id::Pid(self.pid), PEEK), Ok(WaitStatus::StillAlive))
    }
}

/// The owner drops this after it has reaped the leader.
impl Drop for Leader {
    fn drop(&mut self) {
        let pid = self.pid.as_raw();
        let mut started = self.processes.started();
        started.leaders.remove(&pid);
        started.to_continue.remove(&pid);
        drop(started);
        self.processes.leader_reaped.notify_one();
    }
}
