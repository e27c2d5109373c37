//! Processes, told apart from later ones of the same number.

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::str::FromStr;

use rustix::process::{Pid, PidfdFlags, getpid, pidfd_open};
use serde::{Deserialize, Serialize};

/// A process: its number, and when it began. Another one may come to have the number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProcessIdentity {
    pid: i32,
    /// In clock ticks since the machine booted, proc_pid_stat(5).
    started: u64,
}

impl ProcessIdentity {
    pub(crate) fn of_this_process() -> io::Result<Self> {
        Self::of(getpid())
    }

    /// The process that has this number now.
    pub(crate) fn of(pid: Pid) -> io::Result<Self> {
        let pid = pid.as_raw_nonzero().get();
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let started = start_time(&stat)
            .ok_or_else(|| io::Error::other(format!("/proc/{pid}/stat has an unknown form")))?;
        Ok(Self { pid, started })
    }

    /// A handle on the process; `None` when it has ended. It stays a handle on this very
    /// process, so signals sent through it never hit another one.
    pub(crate) fn open(self) -> io::Result<Option<OwnedFd>> {
        let Some(pid) = Pid::from_raw(self.pid) else {
            return Ok(None);
        };
        let pidfd = match pidfd_open(pid, PidfdFlags::NONBLOCK) {
            Err(rustix::io::Errno::SRCH) => return Ok(None),
            pidfd => pidfd?,
        };
        // Looked at after opening: whatever has the number now is what was opened.
        match Self::of(pid) {
            Ok(now) => Ok((now == self).then_some(pidfd)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error()) => {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// The 22nd field; the second, the name in parentheses, may hold anything.
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
    fn this_process_is_found_again_and_another_time_is_another_process() {
        let me = ProcessIdentity::of_this_process().unwrap();
        assert_eq!(me.to_string().parse(), Ok(me));
        assert!(me.open().unwrap().is_some());
        assert!(
            ProcessIdentity {
                started: me.started + 1,
                ..me
            }
            .open()
            .unwrap()
            .is_none()
        );
        assert!(
            ProcessIdentity {
                pid: i32::MAX,
                ..me
            }
            .open()
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
