//! The process between a supervisor and a sandbox that has no pid namespace.
//!
//! The kernel ends a pid namespace with its first process; without one this does: all that
//! comes from the sandbox and loses its parent becomes its child. It holds the lock until
//! nothing is left of them, also when its supervisor is killed, so nobody takes the sandbox for
//! dead before it is. If it is killed itself, its supervisor does the same.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::server_process::{Inside, leave_client};
use super::teardown::end_descendants;
use crate::linux::cgroup::Cgroup;
use crate::linux::failure::{Failure, IoContext};
use crate::linux::sys::{self, Cloned};

/// What it takes along from its supervisor.
pub(super) struct Keeper<'a> {
    pub(super) lock: BorrowedFd<'a>,
    /// The other end closes when the supervisor ends, or wants the sandbox ended.
    pub(super) lifeline: OwnedFd,
    /// Lets the first process inside go on.
    pub(super) go_to: OwnedFd,
    pub(super) group: Option<&'a Cgroup>,
}

impl Keeper<'_> {
    /// Its whole life; it never goes back into its supervisor's frames.
    pub(super) fn run(self, inside: Inside<'_>) -> ! {
        let kept = self
            .keep(inside)
            .inspect_err(|failure| tracing::error!("{failure}"));
        let ended =
            end_descendants(None).inspect_err(|error| tracing::error!(%error, "a process is left"));
        std::process::exit(i32::from(kept.is_err() || ended.is_err()))
    }

    fn keep(&self, inside: Inside<'_>) -> Result<(), Failure> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("collect orphans")?;
        leave_client()?;
        let (pid, first) = match sys::clone_process(0).context("start the first process")? {
            Cloned::Child => inside.run(),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        if let Some(group) = self.group {
            group.add(pid).context("put the sandbox under its limits")?;
        }
        let go_to = self
            .go_to
            .try_clone()
            .context("let the first process go on")?;
        File::from(go_to)
            .write_all(b"\n")
            .context("let the first process go on")?;
        // Among the others are the supervisor's ends of its pipes, which would hide its end.
        sys::close_other_descriptors(&[self.lock, self.lifeline.as_fd(), first.as_fd()])
            .context("close inherited descriptors")?;
        // They are closed already.
        std::mem::forget(inside);
        loop {
            let mut watched = [&first, &self.lifeline]
                .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            match poll(&mut watched, None) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for the end"),
            }
        }
    }
}
