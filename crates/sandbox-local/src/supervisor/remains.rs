//! What there is of a sandbox, and how all of it is taken away.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, pidfd_send_signal, waitid, waitpid,
};

use crate::cgroup::Cgroup;
use crate::confine::OutsideIds;
use crate::state::{Held, SandboxDir};

/// What there is so far; each part is put in as soon as it exists.
#[derive(Default)]
pub(super) struct Remains {
    pub(super) held: Option<Held>,
    pub(super) cgroup: Option<Cgroup>,
    pub(super) child: Option<OwnedFd>,
    /// Its processes have no pid namespace that would end with the first of them.
    pub(super) has_stray_processes: bool,
    pub(super) ids: Option<OutsideIds>,
    /// The client waits for the reply, and nobody would know of the sandbox without it.
    pub(super) client_waits: bool,
}

impl Remains {
    pub(super) fn dir(&self) -> Option<&SandboxDir> {
        self.held.as_ref().map(Held::dir)
    }

    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(AsFd::as_fd)
    }

    /// Takes everything away: processes, control groups, files. What resists is logged, and
    /// left to the next sweep.
    pub(super) fn clear(&mut self) {
        if let Some(child) = self.child.take() {
            log("the first process was not killed", end(&child));
        }
        if self.has_stray_processes {
            log("a process is left", end_descendants());
        }
        if let Some(cgroup) = self.cgroup.take() {
            log("the control group was not removed", cgroup.remove());
        }
        if let Some(held) = self.held.take() {
            log("files are left", held.remove());
        }
        // Only now may another sandbox have them.
        self.ids = None;
    }
}

/// Kills the first process inside; the kernel kills the others and reports its end after
/// theirs (pid_namespaces(7)).
fn end(child: &OwnedFd) -> io::Result<()> {
    match pidfd_send_signal(child, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => {}
        Err(error) => return Err(error.into()),
    }
    loop {
        match waitid(WaitId::PidFd(child.as_fd()), WaitIdOptions::EXITED) {
            Ok(_) | Err(rustix::io::Errno::CHILD) => return Ok(()),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// Kills processes that lost their parent and so became children of this one, and their
/// children as they come, until none is left.
fn end_descendants() -> io::Result<()> {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        for pid in children()? {
            match kill_process(pid, Signal::KILL) {
                // One that ended by itself is collected below like the others.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        loop {
            match waitpid(None, WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if Instant::now() > deadline {
            return Err(io::Error::other("its processes multiply faster than they are killed"));
        }
        thread::sleep(Duration::from_millis(1));
    }
}

fn children() -> io::Result<Vec<Pid>> {
    let me = getpid().as_raw_nonzero().to_string();
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| Pid::from_raw(name.parse().ok()?)) else { continue };
        // A process that is gone by now has no parent to look at.
        let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).unwrap_or_default();
        let parent = stat.rsplit_once(')').and_then(|(_, rest)| rest.split_whitespace().nth(1));
        if parent == Some(&me) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn log(what: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{what}");
    }
}
