//! What a sandbox leaves whose supervisor was killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Signal, pidfd_send_signal};
use sandbox_core::SandboxId;

use crate::linux::cgroup::Cgroup;
use crate::linux::record::Record;
use crate::linux::remove_tree::remove_tree;
use crate::linux::state::StateDir;

/// Removes what one dead sandbox left; `false` when there is nothing to remove or somebody
/// else does.
pub(crate) fn clear_dead(state: &StateDir, id: &SandboxId) -> io::Result<bool> {
    let Some(held) = state.take_dead(id)? else {
        return Ok(false);
    };
    match Record::read(held.dir()) {
        Ok(record) => {
            // It dies with its supervisor; that may be this very moment.
            if let Some(server) = record.server.map_or(Ok(None), |server| server.open())? {
                kill_and_wait(&server)?;
            }
            Cgroup::existing(record.cgroups).remove()?;
            if let Some(disk) = record.disk {
                remove_tree(&disk)?;
            }
        }
        // Nothing but files was there yet, or nothing more can be known.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => tracing::warn!(%id, %error, "the record of a dead sandbox cannot be read"),
    }
    held.remove()?;
    Ok(true)
}

/// Sends a signal; to a process that has ended it is no error.
pub(crate) fn signal(pidfd: &OwnedFd, signal: Signal) -> io::Result<()> {
    match pidfd_send_signal(pidfd, signal) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn kill_and_wait(process: &OwnedFd) -> io::Result<()> {
    signal(process, Signal::KILL)?;
    const PATIENCE: Duration = Duration::from_secs(15);
    let limit = Timespec::try_from(PATIENCE).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&limit),
    ) {
        Ok(0) => Err(io::Error::other("its first process does not end")),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
