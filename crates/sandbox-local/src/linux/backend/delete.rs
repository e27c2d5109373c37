//! Taking sandboxes away, and what dead ones left.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::process::Signal;
use sandbox_core::{DeleteOptions, Error, Result, SandboxId, SweepReport, SweptSandbox};
use tokio::time::{Instant, sleep, timeout};

use super::blocking;
use crate::linux::reclaim::{clear_dead, signal};
use crate::linux::record::Record;
use crate::linux::state::{Life, SandboxDir, StateDir};
use crate::linux::sys;

/// A supervisor that was asked to end gets this long before it is killed.
const ENDING: Duration = Duration::from_secs(15);
/// Whoever else cleans up gets this long.
const PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at what somebody else does.
const BRIEFLY: Duration = Duration::from_millis(5);

/// Returns when nothing is left of the sandbox, or, without `wait`, when it is going.
pub(super) async fn delete(
    state: &StateDir,
    id: &SandboxId,
    options: &DeleteOptions,
) -> Result<()> {
    let stuck = |message: String, source: Option<io::Error>| Error::Deletion {
        id: id.clone(),
        message,
        source: source.map(|e| Box::new(e) as _),
    };
    let io_error = |error: io::Error| stuck(error.to_string(), Some(error));
    let dir = state.sandbox(id);
    let give_up = Instant::now() + PATIENCE;
    loop {
        let (life, is_meant) = look(&dir, options).await.map_err(io_error)?;
        if !is_meant {
            return Ok(());
        }
        let supervisor = match life {
            Life::Absent => return Ok(()),
            Life::Dead => {
                let (state, id) = (state.clone(), id.clone());
                let cleared =
                    blocking("remove what is left", move || clear_dead(&state, &id)).await;
                if !cleared.map_err(io_error)? {
                    sleep(BRIEFLY).await;
                }
                continue;
            }
            Life::Held(supervisor) => supervisor,
        };
        match supervisor
            .map_or(Ok(None), |supervisor| supervisor.open())
            .map_err(io_error)?
        {
            Some(pidfd) => {
                end(pidfd, options.wait).await.map_err(io_error)?;
                if !options.wait {
                    return Ok(());
                }
            }
            // It has just begun, or somebody else removes what is left.
            None if Instant::now() < give_up => sleep(BRIEFLY).await,
            None => {
                return Err(stuck(
                    "another process holds it and cannot be seen (in another container?)"
                        .to_owned(),
                    None,
                ));
            }
        }
    }
}

/// Removes what dead sandboxes left.
pub(super) fn sweep(state: &StateDir, dry_run: bool) -> io::Result<SweepReport> {
    let mut report = SweepReport::default();
    for id in state.ids()? {
        if state.sandbox(&id).life()? != Life::Dead {
            continue;
        }
        if dry_run || clear_dead(state, &id)? {
            report.removed.push(SweptSandbox {
                id,
                reason: "its supervisor was killed".to_owned(),
            });
        }
    }
    Ok(report)
}

async fn look(dir: &SandboxDir, options: &DeleteOptions) -> io::Result<(Life, bool)> {
    let (dir, uid) = (dir.clone(), options.uid.clone());
    blocking("look for the sandbox", move || {
        let life = dir.life()?;
        let other =
            uid.is_some_and(|uid| Record::read(&dir).is_ok_and(|record| record.info.uid != uid));
        Ok((life, !other))
    })
    .await
}

/// Asks a supervisor to take its sandbox away and end; kills it if it does not.
async fn end(pidfd: OwnedFd, wait: bool) -> io::Result<()> {
    signal(&pidfd, Signal::TERM)?;
    if !wait {
        return Ok(());
    }
    if let Ok(ended) = timeout(ENDING, sys::wait_for_end(pidfd.try_clone()?)).await {
        return ended;
    }
    signal(&pidfd, Signal::KILL)?;
    sys::wait_for_end(pidfd).await
}
