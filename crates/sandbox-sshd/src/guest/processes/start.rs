//! Starting a shared process.

use std::sync::Arc;

use pty_process::Size;
use sandbox_core::Notice;
use sandbox_core::guest::{ProcessSpec, Refusal, RefusalCode, TerminalSize};

use super::attach::Attached;
use super::process::SharedProcess;
use super::registry::{MAX_RUNNING, SharedProcesses};
use super::specification;
use crate::lifetime::Activity;
use crate::process::program::StartError;
use crate::process::pty::Terminal;
use crate::process::started::StartedProcess;

/// What became of a start.
pub(super) enum Started {
    Running(Attached),
    Failed(FailedStart),
}

/// A program that cannot be run.
pub(super) struct FailedStart {
    pub(super) error: StartError,
    pub(super) is_terminal: bool,
}

impl SharedProcesses {
    /// Starts a process, which from then on no longer depends on this future.
    ///
    /// # Errors
    ///
    /// If the description is malformed, a limit is reached, the sandbox is paused, or the user or the directory cannot be used. A
    /// program that cannot be run is no error.
    pub(super) async fn start(self: &Arc<Self>, spec: ProcessSpec) -> Result<Started, Refusal> {
        specification::check(&spec)?;
        let permit = Arc::clone(&self.permits)
            .try_acquire_owned()
            .map_err(|_| limit_reached())?;
        let terminal = spec.terminal.map(open_terminal).transpose()?;
        let is_terminal = terminal.is_some();
        let failed = |error| Started::Failed(FailedStart { error, is_terminal });
        let found = specification::find_program(&spec, &self.config, terminal.as_ref())?;
        let found = match found {
            Ok(found) => found,
            Err(error) => return Ok(failed(error)),
        };
        let started = match terminal {
            Some(terminal) => {
                StartedProcess::in_terminal(&self.spawner, &found.program, terminal).await
            }
            None => StartedProcess::with_pipes(&self.spawner, &found.program, spec.stdin).await,
        };
        let started = match started {
            Ok(started) => started,
            Err(error) if error.is_paused => {
                return Err(Refusal::new(RefusalCode::Paused, error.message));
            }
            Err(error) => return Ok(failed(error)),
        };
        // Nothing is waited for from here on, so the process is not lost if this future is dropped.
        let (process, streams) = SharedProcess::new(spec, started);
        let attached = Arc::clone(&process).attach();
        let entry = self.insert(Arc::clone(&process));
        let activity = self.lifetime.begin(Activity::Job);
        let grace = self.config.output_grace;
        let lifetime = Arc::clone(&self.lifetime);
        let is_truncated = found.is_truncated;
        tokio::spawn(async move {
            if is_truncated {
                let notice = Notice::EnvironmentTruncated.to_string();
                process.publish_notice(&notice).await;
            }
            let held = process.run(streams, grace, &lifetime, activity).await;
            drop(permit);
            entry.retire(held).await;
        });
        Ok(Started::Running(attached))
    }
}

fn open_terminal(size: TerminalSize) -> Result<Terminal, Refusal> {
    let size = Size::new(size.rows, size.columns);
    Terminal::open("", size, &[]).map_err(|error| {
        Refusal::new(
            RefusalCode::Other,
            format!("the sandbox's server cannot open a terminal: {error}"),
        )
    })
}

fn limit_reached() -> Refusal {
    Refusal::new(
        RefusalCode::LimitReached,
        format!("{MAX_RUNNING} shared processes run, which is the limit: wait until one ends"),
    )
}
