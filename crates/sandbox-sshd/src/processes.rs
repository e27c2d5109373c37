//! All processes of the sandbox: who started, who is an orphan, and the end of them all.

use std::collections::HashSet;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill, killpg};
use nix::sys::wait::{Id, WaitPidFlag, WaitStatus, waitid, waitpid};
use nix::unistd::Pid;
use tokio::process::Child;
use tokio::sync::Notify;

use crate::config::SpawnSetup;
use crate::spawner::Spawner;

/// How often the end looks whether everyone has gone.
const LOOK: Duration = Duration::from_millis(10);

/// A look at who has ended, without collecting anybody or waiting.
const PEEK: WaitPidFlag = WaitPidFlag::WEXITED
    .union(WaitPidFlag::WNOHANG)
    .union(WaitPidFlag::WNOWAIT);

/// The processes that this server started and has not yet waited for.
#[derive(Default)]
pub(crate) struct Processes {
    leaders: Mutex<HashSet<i32>>,
    waited: Notify,
    /// Where processes are started, if not right here.
    spawner: Option<Spawner>,
}

/// One started process, the leader of a process group of its own.
pub(crate) struct Leader {
    processes: Arc<Processes>,
    pid: Pid,
}

impl Processes {
    pub(crate) fn new(spawn_setup: Option<SpawnSetup>) -> Self {
        Self {
            spawner: spawn_setup.map(Spawner::new),
            ..Self::default()
        }
    }

    /// Starts a process by `spawn`, which must put it into a process group of its own.
    pub(crate) fn spawn<T: Send + 'static>(
        self: &Arc<Self>,
        spawn: impl FnOnce() -> io::Result<(Child, T)> + Send + 'static,
    ) -> io::Result<(Child, Leader, T)> {
        // Held while it starts, so that the reaper never takes a child that is not yet known
        // here for an orphan.
        let mut leaders = self.leaders();
        let (child, more) = match &self.spawner {
            None => spawn()?,
            Some(spawner) => spawner.run(spawn)?,
        };
        let id = child.id().and_then(|id| i32::try_from(id).ok());
        let Some(id) = id else {
            return Err(io::Error::other("the process ended before it had an id"));
        };
        leaders.insert(id);
        Ok((
            child,
            Leader {
                processes: Arc::clone(self),
                pid: Pid::from_raw(id),
            },
            more,
        ))
    }

    /// How many were started and not yet waited for.
    pub(crate) fn count(&self) -> usize {
        self.leaders().len()
    }

    /// Collects orphans for ever.
    ///
    /// # Errors
    ///
    /// When signals cannot be listened to.
    pub(crate) async fn reap_orphans(&self) -> io::Result<()> {
        let mut child_ended =
            tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child())?;
        loop {
            self.reap_ended_orphans();
            tokio::select! {
                _ = child_ended.recv() => {}
                () = self.waited.notified() => {}
            }
        }
    }

    fn reap_ended_orphans(&self) {
        loop {
            let leaders = self.leaders();
            let ended = match waitid(Id::All, PEEK) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status.pid(),
                Err(Errno::EINTR) => continue,
                Err(error) => return tracing::warn!(%error, "orphans cannot be collected"),
            };
            match ended {
                // Its own task waits for it, and then wakes us for those queued behind it.
                Some(pid) if leaders.contains(&pid.as_raw()) => return,
                Some(pid) => drop(waitpid(pid, Some(WaitPidFlag::WNOHANG))),
                None => return,
            }
        }
    }

    /// Ends every process of the sandbox: SIGTERM, and after `grace` SIGKILL.
    pub(crate) async fn terminate(&self, grace: Duration, orphans_too: bool) {
        let deadline = tokio::time::Instant::now() + grace;
        self.signal_all(Signal::SIGTERM, orphans_too);
        self.signal_all(Signal::SIGCONT, orphans_too);
        while tokio::time::Instant::now() < deadline && self.any_left(orphans_too) {
            tokio::time::sleep(LOOK).await;
        }
        // A dying process may have started another: again until none is left, but not for ever,
        // for one that waits for a dead disk cannot be killed.
        for _ in 0..100 {
            if !self.any_left(orphans_too) {
                return;
            }
            self.signal_all(Signal::SIGKILL, orphans_too);
            tokio::time::sleep(LOOK).await;
        }
    }

    fn signal_all(&self, signal: Signal, orphans_too: bool) {
        for &leader in self.leaders().iter() {
            // It may just have ended.
            killpg(Pid::from_raw(leader), signal).ok();
        }
        if orphans_too && is_first() {
            // Everybody but ourselves; there may be no /proc to find them in.
            kill(Pid::from_raw(-1), signal).ok();
        } else if orphans_too {
            for pid in crate::proc_table::descendants() {
                kill(pid, signal).ok();
            }
        }
    }

    fn any_left(&self, orphans_too: bool) -> bool {
        if !self.leaders().is_empty() {
            return true;
        }
        if !orphans_too {
            return false;
        }
        self.reap_ended_orphans();
        let child = || waitid(Id::All, PEEK);
        (is_first() && child() != Err(Errno::ECHILD))
            || !crate::proc_table::descendants().is_empty()
    }

    fn leaders(&self) -> MutexGuard<'_, HashSet<i32>> {
        self.leaders.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To whom all orphans come, and whom all others are below.
fn is_first() -> bool {
    nix::unistd::getpid().as_raw() == 1
}

impl Leader {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the whole group. Only while the leader was not waited for: later its number
    /// may be somebody else's.
    pub(crate) fn signal_group(&self, signal: Signal) {
        // A group that has just ended needs no signal.
        killpg(self.pid, signal).ok();
    }

    /// Whether the leader has ended, without collecting it, so that its number stays its own.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(waitid(Id::Pid(self.pid), PEEK), Ok(WaitStatus::StillAlive))
    }
}

/// The leader was waited for.
impl Drop for Leader {
    fn drop(&mut self) {
        self.processes.leaders().remove(&self.pid.as_raw());
        self.processes.waited.notify_one();
    }
}
