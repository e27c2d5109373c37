//! Stops all members of a sandbox's control group but one, its server, with version 2 of control groups.
//!
//! All are members of one group, because its limits apply to all. It is frozen for a moment, in which nothing can start
//! and nothing can escape. Then all but the server move into a group below, which stays frozen, and the server continues.
//! Limits count the groups below as well.
//!
//! Version 1 has a freezer, too. What that has frozen does not end on SIGKILL, so a sandbox whose supervisor is killed
//! would not end with it.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Pid;

use super::create_group;

/// The group of what is frozen, below that of the sandbox. It exists only while the sandbox is paused.
pub(super) const FROZEN_GROUP: &str = "paused";

/// How long moving may take. Only what is about to end takes longer than an instant.
const MOVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long the end of system calls is waited for. What is in one that takes longer freezes before it runs again.
const FREEZE_TIMEOUT: Duration = Duration::from_secs(2);
/// The interval of reading the state.
const POLL_INTERVAL: Duration = Duration::from_millis(1);

/// Freezes and thaws the members of one group.
#[derive(Debug)]
pub(crate) struct Freezer {
    group: PathBuf,
}

impl Freezer {
    /// Returns the freezer of this group of version 2; `None` if the kernel has none (before Linux 5.2), or does not
    /// let this group have both members and a group below.
    pub(super) fn for_group(group: &Path) -> Option<Self> {
        let kind = fs::read_to_string(group.join("cgroup.type")).ok()?;
        let can_freeze = kind.trim() == "domain" && group.join("cgroup.freeze").is_file();
        can_freeze.then(|| Self {
            group: group.to_owned(),
        })
    }

    /// The members that are not frozen.
    pub(crate) fn members(&self) -> io::Result<Vec<Pid>> {
        members(&self.group)
    }

    /// Freezes all members but the server. After an error none is frozen.
    pub(crate) fn freeze(&self, server: Pid) -> io::Result<()> {
        let frozen = self.try_freeze(server);
        if frozen.is_err() {
            self.thaw()?;
        }
        frozen
    }

    /// Lets all members continue. Without a pause, it changes nothing.
    pub(crate) fn thaw(&self) -> io::Result<()> {
        let below = self.group.join(FROZEN_GROUP);
        set_frozen(&self.group, false)?;
        // Each continues as soon as it has moved. Until then it cannot start others.
        match move_members(&below, &self.group, None) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => tracing::warn!(%error, "not all processes left the frozen control group"),
            Ok(()) => {}
        }
        // What is left there continues as well.
        set_frozen(&below, false)?;
        if let Err(error) = fs::remove_dir(&below) {
            tracing::debug!(%error, "control group of a pause not removed");
        }
        Ok(())
    }

    fn try_freeze(&self, server: Pid) -> io::Result<()> {
        if !self.members()?.contains(&server) {
            return Err(io::Error::other("the server is not in the control group"));
        }
        let below = self.group.join(FROZEN_GROUP);
        match create_group(&below) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            created => created?,
        }
        set_frozen(&below, true)?;
        set_frozen(&self.group, true)?;
        let moved = move_members(&self.group, &below, Some(server));
        set_frozen(&self.group, false)?;
        moved?;
        wait_until_frozen(&below)
    }
}

/// Moves all members but one. They are frozen, so only those whose start had begun can appear meanwhile.
fn move_members(from: &Path, to: &Path, except: Option<Pid>) -> io::Result<()> {
    let deadline = Instant::now() + MOVE_TIMEOUT;
    let to = to.join("cgroup.procs");
    loop {
        let mut left = members(from)?;
        left.retain(|pid| Some(*pid) != except);
        if left.is_empty() {
            return Ok(());
        }
        if Instant::now() > deadline {
            let message = format!("{} processes do not leave {}", left.len(), from.display());
            return Err(io::Error::other(message));
        }
        for pid in left {
            match fs::write(&to, pid.as_raw_nonzero().to_string()) {
                Ok(()) => {}
                Err(error) if is_no_process(&error) => thread::sleep(POLL_INTERVAL),
                Err(error) => return Err(error),
            }
        }
    }
}

fn set_frozen(group: &Path, is_frozen: bool) -> io::Result<()> {
    fs::write(
        group.join("cgroup.freeze"),
        if is_frozen { "1" } else { "0" },
    )
}

fn wait_until_frozen(group: &Path) -> io::Result<()> {
    let deadline = Instant::now() + FREEZE_TIMEOUT;
    loop {
        let events = fs::read_to_string(group.join("cgroup.events"))?;
        if events.lines().any(|line| line == "frozen 1") {
            return Ok(());
        }
        if Instant::now() > deadline {
            tracing::info!("a process of the paused sandbox is in a long system call");
            return Ok(());
        }
        thread::sleep(POLL_INTERVAL);
    }
}

fn members(group: &Path) -> io::Result<Vec<Pid>> {
    let members = fs::read_to_string(group.join("cgroup.procs"))?;
    let pids = members.lines().filter_map(|line| line.parse().ok());
    Ok(pids.filter_map(Pid::from_raw).collect())
}

fn is_no_process(error: &io::Error) -> bool {
    error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}
