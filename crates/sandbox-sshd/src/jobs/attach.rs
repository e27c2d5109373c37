//! Showing a job to a client: its log, its end, signals for it.

use std::io;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::{Job, Jobs};
use crate::command::{Control, Ends, unless};
use crate::output::{Lost, Output};

/// What of a job to show.
pub(crate) struct Attach {
    pub(crate) job: Arc<Job>,
    /// The first byte of the log to send.
    pub(crate) offset: u64,
    /// Stay until the job has ended.
    pub(crate) follow: bool,
}

/// Sends the log, and how the job ended if it has.
pub(crate) async fn attach(attach: Attach, ends: Ends) -> Result<(), Lost> {
    let Ends {
        input,
        output,
        mut control,
    } = ends;
    let gone = input.gone();
    let job = Arc::clone(&attach.job);
    let signals = pass_signals(&job, &mut control);
    tokio::select! {
        sent = unless(&gone, send(attach, &output)) => sent,
        never = signals => match never {},
    }
}

/// Sends one line for each job.
pub(crate) async fn list(jobs: &Jobs, output: &Output) -> Result<(), Lost> {
    let mut lines = Vec::new();
    for record in jobs.records() {
        match serde_json::to_writer(&mut lines, &record) {
            Ok(()) => lines.push(b'\n'),
            Err(error) => tracing::warn!(%error, "a job cannot be described"),
        }
    }
    output.stdout(lines.into()).await?;
    output.finish(Some(crate::output::Exit::Code(0))).await
}

async fn send(
    Attach {
        job,
        offset,
        follow,
    }: Attach,
    output: &Output,
) -> Result<(), Lost> {
    let mut state = job.state.subscribe();
    let mut grown = job.log.watch();
    let mut offset = offset;
    loop {
        // Before the log is looked at: what is complete now is all there.
        let complete = state.borrow_and_update().clone();
        grown.borrow_and_update();
        match send_from(&job, &mut offset, output).await? {
            Ok(()) => {}
            Err(error) => {
                output
                    .complain(&format!(
                        "the log of job {} cannot be read: {error}",
                        job.id
                    ))
                    .await?;
                return output.finish(None).await;
            }
        }
        if !follow || complete.log_complete {
            return output.finish(complete.exit).await;
        }
        tokio::select! {
            changed = state.changed() => changed.map_err(|_| Lost)?,
            changed = grown.changed() => changed.map_err(|_| Lost)?,
        }
    }
}

async fn send_from(job: &Job, offset: &mut u64, output: &Output) -> Result<io::Result<()>, Lost> {
    loop {
        match job.log.read(*offset) {
            Ok(data) if data.is_empty() => return Ok(Ok(())),
            Ok(data) => {
                *offset += data.len() as u64;
                output.stdout(data).await?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

async fn pass_signals(
    job: &Job,
    control: &mut mpsc::Receiver<Control>,
) -> std::convert::Infallible {
    while let Some(control) = control.recv().await {
        if let Control::Signal(signal) = control {
            job.signal(&signal);
        }
    }
    std::future::pending().await
}
