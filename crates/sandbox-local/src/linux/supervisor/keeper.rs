//! The process between a supervisor and the server of a sandbox that has no pid namespace.
//!
//! The kernel ends a pid namespace when its first process ends. Without one, the keeper does that: it
//! is the reaper of all descendants. It holds the lock until they have ended, even if the supervisor
//! is killed, so that no process counts the sandbox as ended before. If the keeper is killed, the
//! supervisor ends the descendants.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};

use super::descendants::end_descendants;
use super::server_process::{ServerProcess, detach_from_client};
use crate::linux::cgroup::Cgroup;
use crate::linux::confine::become_subreaper;
use crate::linux::failure::{Failure, IoContext};
use crate::linux::process_identity::reap;
use crate::linux::sys::{self, Cloned};

/// The keeper's inheritance from the supervisor.
pub(super) struct Keeper<'a> {
    pub(super) lock: BorrowedFd<'a>,
    /// A pipe whose other end the supervisor closes to end the sandbox, or when it ends itself.
    pub(super) lifeline: OwnedFd,
    /// A pipe that releases the server process.
    pub(super) go_to: OwnedFd,
    pub(super) group: Option<&'a Cgroup>,
}

impl Keeper<'_> {
    /// Runs the keeper. It never returns into the stack frames of the supervisor.
    pub(super) fn run(self, server: ServerProcess<'_>) -> ! {
        let kept = self
            .keep(server)
            .inspect_err(|failure| tracing::error!("{failure}"));
        let ended = end_descendants(None)
            .inspect_err(|error| tracing::error!(%error, "sandbox process not ended"));
        std::process::exit(match (kept, ended) {
            (Ok(server), Ok(())) => server.unwrap_or(0),
            _ => 1,
        })
    }

    /// Starts the server process, and returns when the supervisor ends the sandbox, or the server
    /// process has ended: then with its exit code, or 1 if a signal killed it.
    fn keep(&self, server: ServerProcess<'_>) -> Result<Option<i32>, Failure> {
        become_subreaper()?;
        detach_from_client()?;
        let (pid, process) = match sys::clone_process(0).context("start the server process")? {
            Cloned::Child => server.run(),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        if let Some(group) = self.group {
            group
                .add(pid)
                .context("add the sandbox to its control group")?;
        }
        let go_to = self
            .go_to
            .try_clone()
            .context("release the server process")?;
        File::from(go_to)
            .write_all(b"\n")
            .context("release the server process")?;
        // Among the others are the supervisor's pipe ends, which would hide that it has ended.
        sys::close_other_descriptors(&[self.lock, self.lifeline.as_fd(), process.as_fd()])
            .context("close inherited descriptors")?;
        // Its descriptors are closed already.
        std::mem::forget(server);
        loop {
            let mut watched = [&process, &self.lifeline]
                .map(|fd| PollFd::from_borrowed_fd(fd.as_fd(), PollFlags::IN));
            match poll(&mut watched, None) {
                Ok(_) if watched[0].revents().is_empty() => return Ok(None),
                Ok(_) => {
                    let code = reap(&process).context("reap the server process")?;
                    return Ok(Some(code.unwrap_or(1)));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error).context("wait for the end"),
            }
        }
    }
}
