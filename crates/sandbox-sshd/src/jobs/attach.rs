//! Sending a job's log and exit status to a client, and the client's signals to the job.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use sandbox_core::Notice;
use tokio::sync::mpsc;

use super::job::Job;
use super::log::LogPart;
use super::registry::Jobs;
use crate::channel::io::{ChannelIo, Control, send_unless_closed};
use crate::channel::output::{ChannelClosed, Exit, Output};

/// Parameters of attaching to a job.
pub(crate) struct AttachOptions {
    pub(crate) job: Arc<Job>,
    /// The first byte of the output to send.
    pub(crate) offset: u64,
    /// Send new output until the job has ended.
    pub(crate) follow: bool,
}

/// Sends the log of a job, and its exit status if it has ended.
pub(crate) async fn attach(
    options: AttachOptions,
    channel: ChannelIo,
) -> Result<(), ChannelClosed> {
    let ChannelIo {
        mut input,
        output,
        mut control,
    } = channel;
    let closed = input.closed_token();
    // A job has no input.
    input.discard();
    let job = Arc::clone(&options.job);
    let signals = deliver_signals(&job, &mut control);
    tokio::select! {
        sent = send_unless_closed(&closed, send_log(options, &output)) => sent,
        never = signals => match never {},
    }
}

/// Sends one line of JSON per job.
pub(crate) async fn send_list(jobs: &Jobs, output: &Output) -> Result<(), ChannelClosed> {
    let mut lines = Vec::new();
    for record in jobs.records() {
        match serde_json::to_writer(&mut lines, &record) {
            Ok(()) => lines.push(b'\n'),
            Err(error) => tracing::warn!(%error, "job record not serialized"),
        }
    }
    output.send_stdout(lines.into()).await?;
    output.finish(Some(Exit::Code(0))).await
}

async fn send_log(options: AttachOptions, output: &Output) -> Result<(), ChannelClosed> {
    let AttachOptions {
        job,
        mut offset,
        follow,
    } = options;
    let mut state = job.subscribe();
    let mut log_size = job.log().subscribe();
    loop {
        // The state is read before the log: if the log is complete now, all of it is read below.
        let current = state.borrow_and_update().clone();
        log_size.borrow_and_update();
        match send_from(&job, &mut offset, output).await? {
            Ok(()) => {}
            Err(error) => {
                let message = format!("the log of job {} cannot be read: {error}", job.id());
                output.send_error(&message).await?;
                return output.finish(None).await;
            }
        }
        if !follow || current.log_complete {
            // Who waits for the end only does not need to know.
            if current.output_held && offset < u64::MAX {
                output.send_notice(Notice::OutputHeld).await?;
            }
            return output.finish(current.exit).await;
        }
        tokio::select! {
            changed = state.changed() => changed.map_err(|_| ChannelClosed)?,
            changed = log_size.changed() => changed.map_err(|_| ChannelClosed)?,
        }
    }
}

/// Sends the log from `offset` to its present end, and moves `offset` there. A reader that is slower
/// than the job gets a notice of what it has missed.
async fn send_from(
    job: &Job,
    offset: &mut u64,
    output: &Output,
) -> Result<io::Result<()>, ChannelClosed> {
    loop {
        match job.log().read(*offset) {
            Ok(LogPart::End) => return Ok(Ok(())),
            Ok(LogPart::Data(data)) => {
                *offset += data.len() as u64;
                output.send_stdout(data).await?;
            }
            Ok(LogPart::Omitted(bytes)) => {
                *offset += bytes;
                output.send_notice(Notice::Omitted { bytes }).await?;
            }
            Err(error) => return Ok(Err(error)),
        }
    }
}

async fn deliver_signals(job: &Job, control: &mut mpsc::Receiver<Control>) -> Infallible {
    while let Some(control) = control.recv().await {
        match control {
            Control::Signal(signal) => job.signal(&signal),
            // A job has no terminal.
            Control::Resize(_) => {}
        }
    }
    std::future::pending().await
}
