//! Removes what a sandbox has left whose supervisor was killed.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use sandbox_core::SandboxId;

use crate::linux::cgroup::Cgroup;
use crate::linux::process_identity::send_signal;
use crate::linux::record::Record;
use crate::linux::remove_tree::remove_tree;
use crate::linux::state::StateDir;

/// Removes what an ended sandbox has left. Returns whether it did: `false` if there is nothing to
/// remove or another process does it.
pub(crate) fn reclaim(state: &StateDir, id: &SandboxId) -> io::Result<bool> {
    let Some(dir) = state.lock_ended(id)? else {
        return Ok(false);
    };
    match Record::read(dir.dir()) {
        Ok(record) => {
            // The server process dies with its supervisor, but may not have ended yet.
            if let Some(server) = record
                .server
                .map_or(Ok(None), |server| server.open_pidfd())?
            {
                kill_and_wait(&server)?;
            }
            Cgroup::from_directories(record.cgroups).remove()?;
            if let Some(disk) = record.disk {
                remove_tree(&disk)?;
            }
        }
        // The supervisor ended before it created anything but files.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => {
            tracing::warn!(%id, %error, "record of an ended sandbox not readable; removing its files only");
        }
    }
    dir.remove()?;
    Ok(true)
}

fn kill_and_wait(process: &OwnedFd) -> io::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(15);
    send_signal(process, Signal::KILL)?;
    let timeout = Timespec::try_from(TIMEOUT).map_err(io::Error::other)?;
    match poll(
        &mut [PollFd::from_borrowed_fd(process.as_fd(), PollFlags::IN)],
        Some(&timeout),
    ) {
        Ok(0) => Err(io::Error::other(
            "its server process does not end after SIGKILL",
        )),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    }
}
