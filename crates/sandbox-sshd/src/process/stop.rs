//! Stops all processes of the sandbox, and continues those that were not stopped before.

use std::collections::{HashMap, HashSet};
use std::sync::Mutex;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::Instant;

use super::listing::{ProcessActivity, ProcessEntry, find_process, list_hidden, list_processes};
use super::table::is_init;
use crate::lock::lock;

/// How long stopping may take.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The delay between two rounds.
const ROUND_INTERVAL: Duration = Duration::from_millis(2);
/// How many rounds have to find nothing that runs. A listing is not made at one instant: a process that was started
/// while it was made may be missing.
const QUIET_ROUNDS: u32 = 2;

/// The processes that a pause has stopped.
#[derive(Debug, Default)]
pub(crate) struct StoppedProcesses {
    /// Each with the time of its start.
    listed: HashMap<i32, u64>,
    /// Those that were stopped before all were signalled at once, each with the time of its start.
    former: Option<HashSet<(i32, u64)>>,
    /// Those that `/proc` hides, and so whether they had been stopped before. Nothing starts while they are stopped, so
    /// that their pids remain theirs.
    hidden: HashSet<i32>,
    /// Whether they were continued. It is locked while they are signalled, so that none is stopped again that was just
    /// continued.
    is_resumed: Mutex<bool>,
}

/// Why not all processes could be stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StopError {
    /// There is no `/proc`.
    #[error(
        "processes cannot be stopped: the sandbox has no /proc, as without namespaces; create it with namespaces"
    )]
    NoListing,
    /// Other processes than the sandbox's have the server's process as parent.
    #[error(
        "processes cannot be stopped: the server is part of another program; run it as a process of its own"
    )]
    Embedded,
    /// A process may not be stopped.
    #[error("process {0} cannot be stopped: permission denied; end it, or run the server as root")]
    Forbidden(i32),
    /// Some still run after the timeout.
    #[error(
        "processes start faster than they can be stopped: {0} still run after {STOP_TIMEOUT:?}; end some, and pause again"
    )]
    TooFast(usize),
    /// What was frozen could not be thawed.
    #[error("the sandbox cannot be resumed: {0}; try again, or delete it")]
    NotContinued(String),
    /// The server ends.
    #[error("the sandbox is ending; create another one")]
    Interrupted,
}

impl StoppedProcesses {
    /// Stops all processes of the sandbox but this one, until none runs. A process that is stopped already is left
    /// alone. After an error all continue that were stopped.
    ///
    /// Parents are stopped before their children, and [continued](Self::resume) after them, so that no shell sees that
    /// a command of it was stopped.
    pub(crate) async fn stop_all() -> Result<Self, StopError> {
        let mut stopped = Self::default();
        match stopped.stop_rest().await {
            Ok(()) => Ok(stopped),
            Err(error) => {
                stopped.resume();
                Err(error)
            }
        }
    }

    /// Stops what was stopped and runs again, unless it was [continued](Self::resume): the kernel continues the
    /// processes of a group that has lost its parents (`setpgid(2)`).
    pub(crate) fn stop_again(&self) {
        let is_resumed = lock(&self.is_resumed);
        if *is_resumed {
            return;
        }
        self.signal_hidden(Signal::SIGSTOP);
        for (&pid, &started) in &self.listed {
            let pid = Pid::from_raw(pid);
            if let Some(process) = find_process(pid)
                && process.started == started
                && process.activity == ProcessActivity::Active
            {
                // The process may just have ended.
                kill(pid, Signal::SIGSTOP).ok();
            }
        }
    }

    /// Continues the stopped processes, children before their parents.
    pub(crate) fn resume(&self) {
        let mut is_resumed = lock(&self.is_resumed);
        *is_resumed = true;
        let Ok(mut processes) = list_processes() else {
            return;
        };
        self.signal_hidden(Signal::SIGCONT);
        processes.reverse();
        for process in processes {
            if self.listed.get(&process.pid.as_raw()) == Some(&process.started) {
                // The process may just have ended.
                kill(process.pid, Signal::SIGCONT).ok();
            }
        }
    }

    fn signal_hidden(&self, signal: Signal) {
        for &pid in &self.hidden {
            // The process may have ended.
            kill(Pid::from_raw(pid), signal).ok();
        }
    }

    async fn stop_rest(&mut self) -> Result<(), StopError> {
        let deadline = Instant::now() + STOP_TIMEOUT;
        self.signal_at_once()?;
        let mut quiet_rounds = 0;
        loop {
            let running = self.stop_round()?;
            quiet_rounds = if running == 0 { quiet_rounds + 1 } else { 0 };
            if quiet_rounds == QUIET_ROUNDS {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(StopError::TooFast(running));
            }
            tokio::time::sleep(ROUND_INTERVAL).await;
        }
    }

    /// Signals all processes at one instant, so that none starts another meanwhile: one that is about to do so stops
    /// first. Only PID 1 can, for the kernel knows which are the others of its namespace.
    fn signal_at_once(&mut self) -> Result<(), StopError> {
        if !is_init() {
            return Ok(());
        }
        let processes = list_processes().map_err(|_| StopError::NoListing)?;
        self.hidden
            .extend(list_hidden(&processes).iter().map(|pid| pid.as_raw()));
        let stopped = processes
            .iter()
            .filter(|process| process.activity == ProcessActivity::Stopped);
        self.former = Some(stopped.map(identify).collect());
        // This fails if there is none, or none that may be signalled, which is found below.
        kill(Pid::from_raw(-1), Signal::SIGSTOP).ok();
        Ok(())
    }

    /// Signals what runs, and returns how many that are.
    fn stop_round(&mut self) -> Result<usize, StopError> {
        let processes = list_processes().map_err(|_| StopError::NoListing)?;
        // What was signalled at once has to continue also if stopping the rest fails.
        if let Some(former) = &self.former {
            let signalled = processes.iter().map(identify);
            self.listed
                .extend(signalled.filter(|process| !former.contains(process)));
        }
        let mut running = 0;
        for pid in list_hidden(&processes) {
            if self.hidden.insert(pid.as_raw()) {
                running += 1;
            }
        }
        self.signal_hidden(Signal::SIGSTOP);
        for process in processes {
            let pid = process.pid;
            let is_signalled = self.listed.get(&pid.as_raw()) == Some(&process.started);
            match process.activity {
                ProcessActivity::Stopped => continue,
                // It stops before it runs again.
                ProcessActivity::Uninterruptible if is_signalled => continue,
                ProcessActivity::Uninterruptible | ProcessActivity::Active => {}
            }
            match kill(pid, Signal::SIGSTOP) {
                Ok(()) => running += 1,
                Err(Errno::ESRCH) => continue,
                Err(_) => return Err(StopError::Forbidden(pid.as_raw())),
            }
            // Another process may have got the pid since it was listed.
            if let Some(signalled) = find_process(pid) {
                self.listed.insert(pid.as_raw(), signalled.started);
            }
        }
        Ok(running)
    }
}

/// The pid of a process, and the time of its start.
fn identify(process: &ProcessEntry) -> (i32, u64) {
    (process.pid.as_raw(), process.started)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use nix::sys::wait::{WaitPidFlag, waitpid};

    use super::*;

    #[test]
    fn what_was_continued_is_not_stopped_again() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(child.id().try_into().unwrap());
        let mut stopped = StoppedProcesses::default();
        let started = find_process(pid).unwrap().started;
        stopped.listed.insert(pid.as_raw(), started);

        stopped.stop_again();
        waitpid(pid, Some(WaitPidFlag::WUNTRACED)).unwrap();
        stopped.resume();
        waitpid(pid, Some(WaitPidFlag::WCONTINUED)).unwrap();
        // The keeper of a pause may be at work while the sandbox is resumed.
        stopped.stop_again();
        let activity = find_process(pid).unwrap().activity;

        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(activity, ProcessActivity::Active);
    }
}
