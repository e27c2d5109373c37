//! The parts of a sandbox, and their removal.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;

use super::descendants::end_descendants;
use super::pause_requests::PauseRequests;
use crate::linux::cgroup::Cgroup;
use crate::linux::confine::OutsideIds;
use crate::linux::process_identity::{reap, send_signal};
use crate::linux::remove_tree::remove_tree;
use crate::linux::state::{LockedDir, SandboxDir};

/// The existing parts of a sandbox. Each part is added as soon as it exists.
#[derive(Default)]
pub(super) struct Teardown {
    pub(super) locked_dir: Option<LockedDir>,
    pub(super) cgroup: Option<Cgroup>,
    /// What the server asks for, if the control group can be frozen.
    pub(super) pause_requests: Option<PauseRequests>,
    /// The process that the supervisor started: the server process, or its keeper.
    pub(super) child: Option<OwnedFd>,
    /// A pipe to the keeper. When it is closed, the keeper ends the sandbox's processes and then
    /// itself.
    pub(super) lifeline: Option<OwnedFd>,
    /// The sandbox has no pid namespace, so its processes may outlive the server process.
    pub(super) has_orphans: bool,
    /// The directory that the sandbox writes to, if it is outside the sandbox's own directory.
    pub(super) disk: Option<PathBuf>,
    pub(super) ids: Option<OutsideIds>,
    /// The exit code of the child, once it has been reaped; `None` if a signal killed it.
    pub(super) exit_code: Option<i32>,
    /// The client is waiting for the reply. If it ends, no process knows the sandbox's id.
    pub(super) is_client_waiting: bool,
}

impl Teardown {
    pub(super) fn dir(&self) -> Option<&SandboxDir> {
        self.locked_dir.as_ref().map(LockedDir::dir)
    }

    pub(super) fn child(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(AsFd::as_fd)
    }

    /// Whether the kernel killed a process of the sandbox because memory ran out.
    pub(super) fn has_run_out_of_memory(&self) -> bool {
        self.cgroup
            .as_ref()
            .is_some_and(|cgroup| cgroup.out_of_memory_kills() > 0)
    }

    /// Removes all parts: processes, control groups, files. A failure is logged, and the rest is left
    /// to the next sweep.
    pub(super) fn run(&mut self) {
        self.end_processes();
        if let Some(cgroup) = self.cgroup.take() {
            log_error("control group not removed", cgroup.remove());
        }
        if let Some(disk) = self.disk.take() {
            log_error("files not removed", remove_tree(&disk));
        }
        if let Some(locked_dir) = self.locked_dir.take() {
            log_error("files not removed", locked_dir.remove());
        }
        // Another sandbox must not get the same ids before this point.
        self.ids = None;
    }

    /// Ends all processes that were started so far.
    pub(super) fn end_processes(&mut self) {
        const TIMEOUT: Duration = Duration::from_secs(10);
        let has_keeper = self.lifeline.take().is_some();
        if let Some(child) = self.child.take() {
            if has_keeper {
                log_error(
                    "sandbox processes not ended by the keeper",
                    wait_for_end(&child, TIMEOUT),
                );
            }
            match kill_and_reap(&child) {
                Ok(exit_code) => self.exit_code = exit_code,
                Err(error) => tracing::error!(%error, "server process not killed"),
            }
        }
        if self.has_orphans {
            log_error("sandbox process not ended", end_descendants(Some(TIMEOUT)));
        }
    }
}

fn wait_for_end(process: &OwnedFd, timeout: Duration) -> io::Result<()> {
    let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&timeout),
    ) {
        Ok(0) => Err(io::ErrorKind::TimedOut.into()),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Kills a child and waits for it. If it is the first process of a pid namespace, the kernel kills
/// the others and reports its end after theirs (pid_namespaces(7)). Returns the exit code of a child
/// that had ended before.
fn kill_and_reap(child: &OwnedFd) -> io::Result<Option<i32>> {
    send_signal(child, Signal::KILL)?;
    reap(child)
}

fn log_error(problem: &str, result: io::Result<()>) {
    if let Err(error) = result {
        tracing::error!(%error, "{problem}");
    }
}
