//! Identifies processes beyond their pid, which the kernel reuses.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::str::FromStr;

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, getpid, pidfd_open, pidfd_send_signal, waitid,
};
use serde::{Deserialize, Serialize};

/// A process: its pid and start time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pid: i32,
    /// In clock ticks since boot, see proc_pid_stat(5).
    started: u64,
}

impl ProcessIdentity {
    pub(crate) fn for_current_process() -> io::Result<Self> {
        Self::for_pid(getpid())
    }

    /// Identifies the process that has this pid now.
    pub(crate) fn for_pid(pid: Pid) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = start_time(&stat)
            .ok_or_else(|| io::Error::other(format!("cannot parse /proc/{pid}/stat")))?;
        Ok(Self { pid, started })
    }

    /// Opens a pidfd; `None` if the process has ended. A signal sent through it never reaches
    /// another process.
    pub(crate) fn open_pidfd(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            pidfd => pidfd?,
        };
        // The identity is checked after opening, so that it is that of the opened process.
        match Self::for_pid(pid) {
            Ok(now) => Ok((now == self).then_some(pidfd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Sends a signal. If the process has ended, nothing happens.
pub(crate) fn send_signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Waits for a child and returns its exit code; `None` if a signal killed it, or it was reaped
/// already.
pub(crate) fn reap(child: &OwnedFd) -> io::Result<Option<i32>> {
    loop {
        match waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED) {
            Ok(status) => return Ok(status.and_then(|status| status.exit_status())),
            Err(rustix::io::Errno::CHILD) => return Ok(None),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Parses the 22nd field. The second one, the name in parentheses, can contain any character.
fn start_time(stat: &str) -> Option<u64> {
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(19)?
        .parse()
        .ok()
}

impl fmt::Display for ProcessIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.pid, self.started)
    }
}

impl FromStr for ProcessIdentity {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (pid, started) = text.split_once(' ').ok_or(())?;
        Ok(Self {
            pid: pid.parse().map_err(|_| ())?,
            started: started.parse().map_err(|_| ())?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_with_another_start_time_is_another_process() {
        let me = ProcessIdentity::for_current_process().unwrap();
        assert_eq!(me.to_string().parse(), Ok(me));
        assert!(me.open_pidfd().unwrap().is_some());
        assert!(
            ProcessIdentity {
                started: me.started + 1,
                ..me
            }
            .open_pidfd()
            .unwrap()
            .is_none()
        );
        assert!(
            ProcessIdentity {
                pid: i32::MAX,
                ..me
            }
            .open_pidfd()
            .unwrap()
            .is_none()
        );
    }

    #[test]
    fn a_name_cannot_forge_the_start_time() {
        let stat = "7 (a) 1 2 3 (b)) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1";
        assert_eq!(start_time(stat), Some(4242));
        assert_eq!(start_time(""), None);
    }
}
