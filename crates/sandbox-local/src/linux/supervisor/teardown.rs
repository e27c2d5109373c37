//! What there is of a sandbox, and how all of it is taken away.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{
    Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, WaitOptions, getpid, kill_process, pidfd_open,
    pidfd_send_signal, waitid,
};

use crate::linux::cgroup::Cgroup;
use crate::linux::confine::OutsideIds;
use crate::linux::remove_tree::remove_tree;
use crate::linux::state::{Held, SandboxDir};

/// What there is so far; each part is put in as soon as it exists.
#[derive(Default)]
pub(super) struct Teardown {
    pub(super) held: Option<Held>,
    pub(super) cgroup: Option<Cgroup>,
    /// The first process of ours: the first inside, or its keeper.
    pub(super) child: Option<OwnedFd>,
    /// When it is closed, the keeper ends what it keeps, and then itself.
    pub(super) lifeline: Option<OwnedFd>,
    /// Its processes have no pid namespace that would end with the first of them.
    pub(super) has_stray_processes: bool,
    /// What the sandbox writes to, where that is not in its directory.
    pub(super) disk: Option<PathBuf>,
    pub(super) ids: Option<OutsideIds>,
    /// The client waits for the reply, and nobody would know of the sandbox without it.
    pub(super) client_waits: bool,
}

impl Teardown {
    pub(super) fn dir(&self) -> Option<&SandboxDir> {
        self.held.as_ref().map(Held::dir)
    }

    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(AsFd::as_fd)
    }

    /// Takes everything away: processes, control groups, files. What resists is logged, and
    /// left to the next sweep.
    pub(super) fn clear(&mut self) {
        self.end_processes();
        if let Some(cgroup) = self.cgroup.take() {
            log("the control group was not removed", cgroup.remove());
        }
        if let Some(disk) = self.disk.take() {
            log("files are left", remove_tree(&disk));
        }
        if let Some(held) = self.held.take() {
            log("files are left", held.remove());
        }
        // Only now may another sandbox have them.
        self.ids = None;
    }

    /// Ends all processes that there are so far.
    pub(super) fn end_processes(&mut self) {
        const PATIENCE: Duration = Duration::from_secs(10);
        let has_keeper = self.lifeline.take().is_some();
        if let Some(child) = self.child.take() {
            if has_keeper {
                log(
                    "the processes were not ended by their keeper",
                    wait(&child, PATIENCE),
                );
            }
            log("the first process was not killed", end(&child));
        }
        if self.has_stray_processes {
            log("a process is left", end_descendants(Some(PATIENCE)));
        }
    }
}

fn wait(process: &OwnedFd, patience: Duration) -> io::Result<()> {
    let patience = Timespec::try_from(patience).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&patience),
    ) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
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
pub(super) fn end_descendants(patience: Option<Duration>) -> io::Result<()> {
    let deadline = patience.map(|patience| Instant::now() + patience);
    loop {
        for pid in children()? {
            match kill_process(pid, Signal::KILL) {
                // One that ended by itself is collected below like the others.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
            // Those must not wait until they are children of this one: a bomb would be quicker.
            grandchildren(pid).iter().for_each(kill_child);
        }
        loop {
            // Not `waitpid(None, …)`, which is for this process group alone.
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(io::Error::other(
                "its processes multiply faster than they are killed",
            ));
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// Children of a child, and so on, each with its parent. Kernels without such lists have none.
fn grandchildren(child: Pid) -> Vec<(Pid, Pid)> {
    let mut found = vec![(getpid(), child)];
    let mut next = 0;
    while let Some(&(_, parent)) = found.get(next) {
        let parent_number = parent.as_raw_nonzero();
        // One that is gone by now has handed them over.
        let tasks = fs::read_dir(format!("/proc/{parent_number}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        for list in lists {
            found.extend(
                list.split_whitespace()
                    .filter_map(|pid| Some((parent, Pid::from_raw(pid.parse().ok()?)?))),
            );
        }
        next += 1;
    }
    found.split_off(1)
}

/// Kills a process that is still its parent's child; whoever else has its number by now is not.
fn kill_child((parent, pid): &(Pid, Pid)) {
    let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) else {
        return;
    };
    let now = parent_of(*pid);
    if now == Some(*parent) || now == Some(getpid()) {
        // One that has ended is not left.
        pidfd_send_signal(process, Signal::KILL).ok();
    }
}

fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

fn children() -> io::Result<Vec<Pid>> {
    let list = format!(
        "/proc/self/task/{}/children",
        rustix::thread::gettid().as_raw_nonzero()
    );
    // There is one thread. A kernel without such lists is asked for all processes.
    if let Ok(list) = fs::read_to_string(list) {
        return Ok(list
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect());
    }
    let me = Some(getpid());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|name| Pid::from_raw(name.parse().ok()?))
        else {
            continue;
        };
        // A process that is gone by now has no parent to look at.
        if parent_of(pid) == me {
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
