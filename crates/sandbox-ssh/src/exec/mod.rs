//! Commands: started on a channel, and driven to their end by a task of their own.

mod actor;
mod handshake;
mod input;
mod marked;
mod prelude;
mod signals;
mod sink;
mod start;
mod state;

use std::time::Duration;

use sandbox_core::metrics::Operation;
use sandbox_core::{
    CommandCause, Deadline, Error, ExecRequest, JobId, Output, Process, ProcessDriver, Result,
};
use tokio::sync::oneshot;
use tracing::Instrument;

use crate::channel::{self, OpenChannel};
use crate::connection::Opening;
use crate::pool::SlotPool;

use actor::{Actor, Inputs};
use marked::Reach;
use sink::{Collect, Sink, Stream};
use start::Begun;
pub(crate) use start::Start;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) checkout: Duration,
    pub(crate) channel: Duration,
}

/// What to run, and what is expected of its end.
pub(crate) struct Run {
    pub(crate) start: Start,
    /// Kill it when it runs longer.
    pub(crate) timeout: Option<Duration>,
    /// A channel that the server closes without telling how the command ended is fine.
    pub(crate) may_end_silently: bool,
}

impl Run {
    pub(crate) fn command(request: ExecRequest) -> Result<Self> {
        let timeout = request.timeout;
        Ok(Self {
            start: Start::command(request)?,
            timeout,
            may_end_silently: false,
        })
    }

    /// For what the SDK asks for itself.
    fn internal(request: ExecRequest) -> Result<Self> {
        let mut run = Self::command(request)?;
        run.start.internally();
        Ok(run)
    }

    pub(crate) fn job(id: &JobId, request: ExecRequest) -> Result<Self> {
        let mut run = Self::command(request)?;
        run.start.as_job(id);
        run.timeout = None;
        Ok(run)
    }
}

/// Runs something to its end and collects what it writes, at most `cap` bytes of each stream.
/// Dropping the future ends it. The output is taken as it comes even while the future is not
/// polled, for others share the connection.
pub(crate) async fn collect(
    pool: &SlotPool,
    run: Run,
    cap: usize,
    limits: Limits,
) -> Result<Output> {
    let (sink, output) = Collect::new(cap);
    let span = span(pool, "output");
    let pool = pool.clone();
    let measured = run.start.measured("output");
    let work = async move {
        let mut sink = sink;
        match begin(&pool, &run.start, limits, &mut sink).await {
            Some(Ok((channel, inputs))) => {
                let inputs = Inputs { measured, ..inputs };
                Actor::new(channel, run, inputs, sink, limits).run().await;
            }
            Some(Err(error)) => sink.finish(not_begun(measured, error)).await,
            None => {}
        }
    };
    tokio::spawn(work.instrument(span));
    output.await.unwrap_or_else(|_dropped| {
        Err(Error::Command {
            cause: CommandCause::Lost,
            source: None,
        })
    })
}

/// Starts something whose output is read at the caller's pace.
pub(crate) async fn stream(
    pool: &SlotPool,
    run: Run,
    stdin: bool,
    limits: Limits,
) -> Result<Process> {
    let (
        process,
        ProcessDriver {
            events,
            stdin,
            control,
        },
    ) = Process::channel(stdin);
    let (started, result) = oneshot::channel();
    let span = span(pool, "stream");
    let pool = pool.clone();
    let measured = run.start.measured("stream");
    let work = async move {
        let mut sink = Stream::new(events);
        match begin(&pool, &run.start, limits, &mut sink).await {
            Some(Ok((channel, inputs))) => {
                // Nobody waits any more: the actor will find the process dropped as well.
                drop(started.send(Ok(())));
                let inputs = Inputs {
                    stdin,
                    control: Some(control),
                    measured,
                    ..inputs
                };
                Actor::new(channel, run, inputs, sink, limits).run().await;
            }
            Some(Err(error)) => drop(started.send(not_begun(measured, error))),
            None => {}
        }
    };
    tokio::spawn(work.instrument(span));
    match result.await {
        Ok(Ok(())) => Ok(process),
        Ok(Err(error)) => Err(error),
        Err(_dropped) => Err(Error::Command {
            cause: CommandCause::Lost,
            source: None,
        }),
    }
}

/// How a command ends that nothing came of.
fn not_begun<T>(measured: Option<Operation>, error: Error) -> Result<T> {
    let end = Err(error);
    if let Some(measured) = measured {
        measured.finish(&end);
    }
    end
}

/// The fields are part of the interface; what runs is never among them. The pool's are as the
/// command found them; they are looked up only where somebody listens.
fn span(pool: &SlotPool, kind: &'static str) -> tracing::Span {
    tracing::debug_span!(
        "ssh.command",
        sandbox.id = %pool.sandbox(),
        ssh.kind = kind,
        ssh.pool.connections = pool.status().connections,
        ssh.pool.busy = pool.status().busy,
        ssh.pool.channels_per_connection = pool.status().channels_per_connection,
    )
}

/// Opens a channel and starts something on it, with what belongs to that; `None` when nobody wants it any more.
async fn begin(
    pool: &SlotPool,
    start: &Start,
    limits: Limits,
    sink: &mut impl Sink,
) -> Option<Result<(OpenChannel, Inputs)>> {
    let begin = async {
        let deadline = Deadline::from_now(limits.checkout);
        let mut channel = channel::open(pool, &Opening::Session, limits.channel, deadline).await?;
        let Begun { prelude, mark } = start.send(&mut channel, limits.channel).await?;
        let reach = mark.map(|mark| Reach::new(mark, pool, limits));
        Ok((
            channel,
            Inputs {
                prelude,
                reach,
                ..Inputs::default()
            },
        ))
    };
    tokio::select! {
        biased;
        channel = begin => Some(channel),
        () = sink.abandoned() => None,
    }
}
