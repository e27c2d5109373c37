//! Commands: each is started on a channel, and driven to its end by a task of its own, the actor.

mod actor;
mod env_script;
mod errors;
mod input;
mod optional;
mod request;
mod run_as;
mod signal_fallback;
mod signals;
mod sink;
mod state;
mod tty_sync;

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::metrics::Operation;
use sandbox_core::{CommandCause, Deadline, Error, Output, Process, ProcessDriver, Result};
use tokio::sync::oneshot;
use tracing::Instrument;

pub(crate) use request::StartRequest;

use crate::channel::{ChannelPool, OpenChannel};
use crate::connection::Opening;
use actor::{Actor, Inputs};
use request::Started;
use signal_fallback::{CommandTag, SignalFallback};
use sink::{CollectSink, Sink, StreamSink};

/// How long the parts of a start may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timeouts {
    /// Waiting for a free channel.
    pub(crate) checkout: Duration,
    /// Opening the channel, and each answer of the server on it.
    pub(crate) channel: Duration,
}

/// Runs a command to its end and collects its output, at most `cap` bytes of each stream.
/// Dropping the future ends the command. The output is read as it arrives even while the future
/// is not polled, because other commands share the connection.
pub(crate) async fn collect(
    pool: &ChannelPool,
    request: StartRequest,
    cap: usize,
    timeouts: Timeouts,
) -> Result<Output> {
    let (sink, output) = CollectSink::new(cap);
    let span = command_span(pool, "output");
    let pool = pool.clone();
    let measured = request.begin_measuring("output");
    let work = async move {
        let mut sink = sink;
        match start(&pool, &request, timeouts, &mut sink).await {
            Some(Ok((channel, inputs))) => {
                let inputs = Inputs { measured, ..inputs };
                let actor = Actor::new(channel, request, inputs, sink, timeouts.channel);
                actor.run().await;
            }
            Some(Err(error)) => sink.finish(record_failed_start(measured, error)).await,
            None => {}
        }
    };
    tokio::spawn(work.instrument(span));
    output.await.unwrap_or_else(|_dropped| Err(lost_error()))
}

/// Starts a command whose output is read at the caller's pace.
pub(crate) async fn stream(
    pool: &ChannelPool,
    request: StartRequest,
    stdin: bool,
    timeouts: Timeouts,
) -> Result<Process> {
    let (process, driver) = Process::channel(stdin);
    let ProcessDriver {
        events,
        stdin,
        control,
    } = driver;
    let (started, result) = oneshot::channel();
    let span = command_span(pool, "stream");
    let pool = pool.clone();
    let measured = request.begin_measuring("stream");
    let work = async move {
        let mut sink = StreamSink::new(events);
        match start(&pool, &request, timeouts, &mut sink).await {
            Some(Ok((channel, inputs))) => {
                // If the caller has stopped waiting, the actor finds the process dropped as well.
                drop(started.send(Ok(())));
                let inputs = Inputs {
                    stdin,
                    control: Some(control),
                    measured,
                    ..inputs
                };
                let actor = Actor::new(channel, request, inputs, sink, timeouts.channel);
                actor.run().await;
            }
            Some(Err(error)) => drop(started.send(record_failed_start(measured, error))),
            None => {}
        }
    };
    tokio::spawn(work.instrument(span));
    match result.await {
        Ok(Ok(())) => Ok(process),
        Ok(Err(error)) => Err(error),
        Err(_dropped) => Err(lost_error()),
    }
}

/// Opens a channel and starts a command on it; `None` if the caller has stopped waiting.
async fn start(
    pool: &ChannelPool,
    request: &StartRequest,
    timeouts: Timeouts,
    sink: &mut impl Sink,
) -> Option<Result<(OpenChannel, Inputs)>> {
    let start = async {
        let deadline = Deadline::from_now(timeouts.checkout);
        let opening = pool.open(&Opening::Session, timeouts.channel, deadline);
        let mut channel = opening.await?;
        let Started { env_script, tag } = request.send(&mut channel, timeouts.channel).await?;
        let inputs = Inputs {
            env_script,
            signal_fallback: tag.map(|tag| signal_by_command(tag, pool, timeouts)),
            ..Inputs::default()
        };
        Ok((channel, inputs))
    };
    tokio::select! {
        biased;
        channel = start => Some(channel),
        () = sink.wait_abandoned() => None,
    }
}

/// Signals the tagged command through a second command.
fn signal_by_command(tag: CommandTag, pool: &ChannelPool, timeouts: Timeouts) -> SignalFallback {
    let pool = pool.clone();
    let timeouts = Timeouts {
        checkout: signal_fallback::TIMEOUT.min(timeouts.checkout),
        ..timeouts
    };
    // The future is boxed because the second command has an actor like the first.
    Arc::new(move |signal| {
        let pool = pool.clone();
        let request = tag.signal_request(&signal);
        Box::pin(async move {
            let request = StartRequest::for_internal_command(request)?;
            let signalling = collect(&pool, request, signal_fallback::OUTPUT_CAP, timeouts);
            let output = tokio::time::timeout(signal_fallback::TIMEOUT, signalling).await??;
            output.check()?;
            Ok(())
        })
    })
}

/// Result of a command that never started.
fn record_failed_start<T>(measured: Option<Operation>, error: Error) -> Result<T> {
    let end = Err(error);
    if let Some(measured) = measured {
        measured.finish(&end);
    }
    end
}

/// The span of one command. Its fields are part of the interface, and the command itself is never
/// among them. The pool's fields are read only if the span is enabled.
fn command_span(pool: &ChannelPool, kind: &'static str) -> tracing::Span {
    tracing::debug_span!(
        "ssh.command",
        sandbox.id = %pool.sandbox(),
        ssh.kind = kind,
        ssh.pool.connections = pool.status().connections,
        ssh.pool.busy = pool.status().busy,
        ssh.pool.channels_per_connection = pool.status().channels_per_connection,
    )
}

/// The task of a command was dropped, because the runtime is shutting down.
fn lost_error() -> Error {
    Error::Command {
        cause: CommandCause::Lost,
        source: None,
    }
}
