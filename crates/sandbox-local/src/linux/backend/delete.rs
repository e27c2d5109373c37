//! Deletes sandboxes, and sweeps what ended ones have left.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::Signal;
use sandbox_core::{DeleteOptions, Error, Result, SandboxId, SweepReport, SweptSandbox};
use tokio::time::{Instant, sleep, timeout};

use super::file_access::run_blocking;
use crate::linux::process_identity::send_signal;
use crate::linux::reclaim::reclaim;
use crate::linux::record::Record;
use crate::linux::state::{LockState, SandboxDir, StateDir};
use crate::linux::sys;

/// The time that a supervisor has to end before it is killed.
const TERMINATION_GRACE: Duration = Duration::from_secs(15);
/// The time that another process has to finish its cleanup.
const CLEANUP_TIMEOUT: Duration = Duration::from_secs(30);
/// The interval at which the state is read while another process changes it.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Deletes a sandbox. Returns when nothing is left of it or, without `wait`, when its end has begun.
pub(super) async fn delete(
    state: &StateDir,
    id: &SandboxId,
    options: &DeleteOptions,
) -> Result<()> {
    let deletion_error = |message: String, source: Option<io::Error>| Error::Deletion {
        id: id.clone(),
        message,
        source: source.map(|e| Box::new(e) as _),
    };
    let io_error = |error: io::Error| deletion_error(error.to_string(), Some(error));
    let dir = state.sandbox(id);
    let deadline = Instant::now() + CLEANUP_TIMEOUT;
    loop {
        let (lock_state, is_same_instance) = read_state(&dir, options).await.map_err(io_error)?;
        if !is_same_instance {
            return Ok(());
        }
        let supervisor = match lock_state {
            LockState::Absent => return Ok(()),
            LockState::Ended => {
                let (state, id) = (state.clone(), id.clone());
                let reclaimed =
                    run_blocking("clean up the sandbox", move || reclaim(&state, &id)).await;
                if !reclaimed.map_err(io_error)? {
                    sleep(POLL_INTERVAL).await;
                }
                continue;
            }
            LockState::Locked(supervisor) => supervisor,
        };
        match supervisor
            .map_or(Ok(None), |supervisor| supervisor.open_pidfd())
            .map_err(io_error)?
        {
            Some(pidfd) => {
                end_supervisor(pidfd, options.wait)
                    .await
                    .map_err(io_error)?;
                if !options.wait {
                    return Ok(());
                }
            }
            // The supervisor has just started, or another process is cleaning up.
            None if Instant::now() < deadline => sleep(POLL_INTERVAL).await,
            None => {
                return Err(deletion_error(
                    "another process holds its lock and is not visible here, perhaps in another container; \
                     delete the sandbox there"
                        .to_owned(),
                    None,
                ));
            }
        }
    }
}

/// Removes what ended sandboxes have left.
pub(super) fn sweep(state: &StateDir, dry_run: bool) -> io::Result<SweepReport> {
    let mut report = SweepReport::default();
    for id in state.ids()? {
        if state.sandbox(&id).lock_state()? != LockState::Ended {
            continue;
        }
        if dry_run || reclaim(state, &id)? {
            report.removed.push(SweptSandbox {
                id,
                reason: "its supervisor was killed".to_owned(),
            });
        }
    }
    Ok(report)
}

/// Reads the state, and whether it is that of the instance that the options name.
async fn read_state(dir: &SandboxDir, options: &DeleteOptions) -> io::Result<(LockState, bool)> {
    let (dir, uid) = (dir.clone(), options.uid.clone());
    run_blocking("look up the sandbox", move || {
        let lock_state = dir.lock_state()?;
        let is_other =
            uid.is_some_and(|uid| Record::read(&dir).is_ok_and(|record| record.info.uid != uid));
        Ok((lock_state, !is_other))
    })
    .await
}

/// Asks a supervisor to tear its sandbox down and end, and kills it if it does not.
async fn end_supervisor(pidfd: OwnedFd, wait: bool) -> io::Result<()> {
    send_signal(&pidfd, Signal::TERM)?;
    if !wait {
        return Ok(());
    }
    if let Ok(ended) = timeout(TERMINATION_GRACE, sys::wait_for_end(pidfd.try_clone()?)).await {
        return ended;
    }
    send_signal(&pidfd, Signal::KILL)?;
    sys::wait_for_end(pidfd).await
}
