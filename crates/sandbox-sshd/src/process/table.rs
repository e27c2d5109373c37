//! The processes of the sandbox: those that the server started, the orphans it reaps, and their
//! termination.

use std::collections::{HashMap, HashSet};
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
    /// The pids of the started processes, each the leader of a process group.
    leaders: Mutex<HashSet<i32>>,
    /// Notified when a leader was reaped.
    leader_reaped: Notify,
}

/// One started process, the leader of a process group of its own.
pub(crate) struct Leader {
    processes: Arc<ProcessTable>,
    pid: Pid,
}

impl ProcessTable {
    /// Starts a process by calling `spawn`, which must put it into a process group of its own.
    pub(crate) fn spawn<T>(
        self: &Arc<Self>,
        spawn: impl FnOnce() -> io::Result<(Child, T)>,
    ) -> io::Result<(Child, Leader, T)> {
        // The lock is held during the start, so that the reaper does not take a child that is not
        // yet listed for an orphan.
        let mut leaders = self.leaders();
        let (child, streams) = spawn()?;
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
            streams,
        ))
    }

    /// Returns the number of processes that were started and not yet reaped.
    pub(crate) fn count(&self) -> usize {
        self.leaders().len()
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
            let leaders = self.leaders();
            let ended = match waitid(Id::All, PEEK) {
                Ok(WaitStatus::StillAlive) | Err(Errno::ECHILD) => return,
                Ok(status) => status.pid(),
                Err(Errno::EINTR) => continue,
                Err(error) => return tracing::warn!(%error, "waitid failed; orphans not reaped"),
            };
            match ended {
                // The task that owns this leader reaps it, which notifies this one to continue with
                // the children behind it.
                Some(pid) if leaders.contains(&pid.as_raw()) => return,
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
        for &leader in self.leaders().iter() {
            // This fails if the group has just ended.
            killpg(Pid::from_raw(leader), signal).ok();
        }
        if with_orphans && is_init() {
            // kill(-1) signals all processes except this one, and needs no /proc.
            kill(Pid::from_raw(-1), signal).ok();
        } else if with_orphans {
            for pid in descendants() {
                kill(pid, signal).ok();
            }
        }
    }

    fn has_processes(&self, with_orphans: bool) -> bool {
        if !self.leaders().is_empty() {
            return true;
        }
        if !with_orphans {
            return false;
        }
        self.reap_ended_orphans();
        (is_init() && waitid(Id::All, PEEK) != Err(Errno::ECHILD)) || !descendants().is_empty()
    }

    fn leaders(&self) -> MutexGuard<'_, HashSet<i32>> {
        lock(&self.leaders)
    }
}

/// Whether this process is PID 1, which adopts all orphans.
fn is_init() -> bool {
    nix::unistd::getpid().as_raw() == 1
}

impl Leader {
    pub(crate) fn pid(&self) -> Pid {
        self.pid
    }

    /// Signals the whole group. The caller must not have reaped the leader yet, because after that
    /// its pid may belong to another process.
    pub(crate) fn signal_group(&self, signal: Signal) {
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

    /// Whether the leader has ended. It is not reaped, so its pid stays reserved.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(waitid(Id::Pid(self.pid), PEEK), Ok(WaitStatus::StillAlive))
    }
}

/// The owner drops this after it has reaped the leader.
impl Drop for Leader {
    fn drop(&mut self) {
        self.processes.leaders().remove(&self.pid.as_raw());
        self.processes.leader_reaped.notify_one();
    }
}

/// Returns all descendants of this process except zombies, or none if there is no `/proc`.
fn descendants() -> Vec<Pid> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    for entry in entries.flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        // The process may have ended since the directory was listed.
        let Ok(stat) = std::fs::read(entry.path().join("stat")) else {
            continue;
        };
        if let Some(parent) = living_parent(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut pids = vec![nix::unistd::getpid().as_raw()];
    let mut next = 0;
    while let Some(pid) = pids.get(next) {
        pids.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    pids.into_iter().skip(1).map(Pid::from_raw).collect()
}

/// Returns the parent in a `stat` line, unless the process is a zombie. The name in parentheses may
/// contain parentheses, so the fields are counted from the last one.
fn living_parent(stat: &[u8]) -> Option<i32> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let mut fields = std::str::from_utf8(&stat[end + 1..])
        .ok()?
        .split_ascii_whitespace();
    match fields.next()? {
        "Z" | "X" => None,
        _ => fields.next()?.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_parsed_whatever_the_name_contains() {
        assert_eq!(living_parent(b"12 (sh) S 7 12 12 0"), Some(7));
        assert_eq!(living_parent(b"12 (a) S 1 (b) ) R 7 12"), Some(7));
        assert_eq!(living_parent(b"12 (sh) Z 7 12"), None);
        for bad in ["", "12 (sh", "12 (sh)", "12 (sh) S", "12 (sh) S x"] {
            assert_eq!(living_parent(bad.as_bytes()), None, "{bad:?}");
        }
    }

    #[test]
    fn a_child_is_listed_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        assert!(descendants().contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants().contains(&pid));
    }
}
