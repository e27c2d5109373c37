//! Running commands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pyo3::prelude::*;
use sandbox::{ExecEvent, ExitStatus, Process, ProcessControl, ProcessStdin, PtySize, Result};
use tokio::io::AsyncWriteExt;
use tokio::sync::{Mutex, watch};

use crate::calls::{Shared, nothing, operation, share};
use crate::core::arguments::{optional_duration, returncode, signal};
use crate::core::fault::Fault;
use crate::operation::Operation;
use crate::records::exec_event;
use crate::untaken::Untaken;
use crate::value::Value;

/// How much unread output `poll` keeps while it looks for the end.
const POLL_BUFFER: usize = 1 << 20;

/// A running command.
#[pyclass(frozen, module = "sandbox_sdk._sandbox")]
pub(crate) struct RawProcess {
    parts: Shared<Arc<Parts>>,
}

struct Parts {
    /// `None` after it was closed.
    output: Mutex<Option<OutputState>>,
    stdin: Mutex<Option<ProcessStdin>>,
    control: ProcessControl,
    /// Events whose callers were cancelled. Calls that receive events wait for their turn before they lock the output.
    untaken: Arc<Untaken<ExecEvent>>,
    /// Ends calls that wait for the process.
    is_closed: watch::Sender<bool>,
}

/// The output that was not read yet.
struct OutputState {
    process: Process,
    /// The same as that of the process.
    untaken: Arc<Untaken<ExecEvent>>,
    /// Events that `poll` has received.
    pending: VecDeque<ExecEvent>,
    pending_bytes: usize,
    /// What `communicate` has collected, also before a timeout, and for a caller that was cancelled.
    collected: Collected,
    status: Option<ExitStatus>,
}

/// Both streams, each up to a cap.
#[derive(Default)]
struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: u64,
    /// Both, once they are complete.
    complete: Option<(Bytes, Bytes)>,
}

impl RawProcess {
    pub(crate) fn new(mut process: Process) -> Self {
        let (is_closed, _) = watch::channel(false);
        let untaken = Untaken::new();
        let parts = Parts {
            stdin: Mutex::new(process.take_stdin()),
            control: process.control(),
            untaken: Arc::clone(&untaken),
            is_closed,
            output: Mutex::new(Some(OutputState {
                process,
                untaken,
                pending: VecDeque::new(),
                pending_bytes: 0,
                collected: Collected::default(),
                status: None,
            })),
        };
        Self {
            parts: share(Arc::new(parts)),
        }
    }
}

#[pymethods]
impl RawProcess {
    /// An item with the next event, as a pair; `None` after the end.
    fn next(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            let receive = async {
                let turn = parts.untaken.turn().await?;
                let mut output = parts.output.lock().await;
                let state = output.as_mut().ok_or_else(closed)?;
                let event = state.next().await?;
                Ok(Value::optional(event, |event| {
                    parts.untaken.hand_over(turn, event, exec_event)
                }))
            };
            parts.until_closed(receive).await
        })
    }

    /// The exit code, if the command has ended and little output is unread. Does not wait.
    fn poll(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            // Another call that receives events waits for the next one.
            let Ok(mut output) = parts.output.try_lock() else {
                return Ok(Value::None);
            };
            let state = output.as_mut().ok_or_else(closed)?;
            state.look_ahead()?;
            Ok(Value::optional(state.known_status(), |status| {
                Value::Signed(returncode(&status))
            }))
        })
    }

    /// Discards the output and waits for the end. `None` after the timeout.
    fn wait(&self, timeout: Option<f64>) -> Operation {
        operation(&self.parts, move |parts| async move {
            let timeout = optional_duration("timeout", timeout)?;
            let finish = async {
                let _turn = parts.untaken.turn().await?;
                let mut output = parts.output.lock().await;
                let state = output.as_mut().ok_or_else(closed)?;
                while state.next().await?.is_some() {}
                Ok::<_, Fault>(state.status.as_ref().map(returncode))
            };
            let status = within(timeout, parts.until_closed(finish)).await?;
            Ok(Value::optional(status.flatten(), Value::Signed))
        })
    }

    /// Writes the input and closes it, collects the output, and waits for the end. `None` after the timeout. What was
    /// collected is kept, so that another call returns it, too.
    fn communicate(&self, input: Option<Vec<u8>>, cap: usize, timeout: Option<f64>) -> Operation {
        operation(&self.parts, move |parts| async move {
            let timeout = optional_duration("timeout", timeout)?;
            let write = async {
                let mut stdin = parts.stdin.lock().await;
                if let (Some(open), Some(input)) = (stdin.as_mut(), &input) {
                    // A command may end without reading all of its input.
                    drop(open.write_all(input).await);
                }
                drop(stdin.take());
            };
            let collect = async {
                let _turn = parts.untaken.turn().await?;
                let mut output = parts.output.lock().await;
                let state = output.as_mut().ok_or_else(closed)?;
                while let Some(event) = state.next().await? {
                    state.collected.push(&event, cap);
                }
                let collected = state.collected.complete();
                Ok::<_, Fault>((collected, state.status.as_ref().map(returncode)))
            };
            let both = async {
                let ((), collected) = tokio::join!(write, collect);
                collected
            };
            let both = within(timeout, parts.until_closed(both)).await?;
            let Some(((stdout, stderr, dropped), status)) = both else {
                return Ok(Value::None);
            };
            Ok(Value::Tuple(vec![
                Value::optional(status, Value::Signed),
                Value::Bytes(stdout),
                Value::Bytes(stderr),
                Value::Int(dropped),
            ]))
        })
    }

    /// Writes to the standard input. Waits while the command does not read.
    fn write(&self, data: Vec<u8>) -> Operation {
        operation(&self.parts, |parts| async move {
            let write = async {
                let mut stdin = parts.stdin.lock().await;
                let open = stdin.as_mut().ok_or_else(|| Fault::closed("the input"))?;
                open.write_all(&data).await.map_err(|error| {
                    Fault::new(
                        "CommandExecutionError",
                        format!("the command no longer reads its input: {error}"),
                    )
                })?;
                Ok(Value::Int(data.len() as u64))
            };
            parts.until_closed(write).await
        })
    }

    /// Ends the standard input.
    fn close_stdin(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            drop(parts.stdin.lock().await.take());
            Ok(Value::None)
        })
    }

    fn send_signal(&self, number: i64) -> Operation {
        operation(&self.parts, move |parts| async move {
            nothing(parts.control.signal(signal(number)?).await)
        })
    }

    fn send_named_signal(&self, name: String) -> Operation {
        operation(&self.parts, |parts| async move {
            nothing(parts.control.signal(name.parse()?).await)
        })
    }

    fn resize(&self, columns: u16, rows: u16) -> Operation {
        operation(&self.parts, move |parts| async move {
            nothing(parts.control.resize(PtySize { columns, rows }).await)
        })
    }

    /// Ends the channel, and calls that wait for it: a command that still runs is hung up.
    fn close(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            parts.is_closed.send_replace(true);
            drop(parts.stdin.lock().await.take());
            drop(parts.output.lock().await.take());
            Ok(Value::None)
        })
    }
}

impl Parts {
    /// Does work of which another call can be the end: that which closes the process.
    async fn until_closed<T>(
        &self,
        work: impl Future<Output = Result<T, Fault>>,
    ) -> Result<T, Fault> {
        let mut is_closed = self.is_closed.subscribe();
        tokio::select! {
            biased;
            _ = is_closed.wait_for(|closed| *closed) => Err(closed()),
            result = work => result,
        }
    }
}

impl OutputState {
    /// Returns the next event. Dropping the future loses none.
    async fn next(&mut self) -> Result<Option<ExecEvent>, Fault> {
        if let Some(event) = self.untaken.take() {
            return Ok(Some(event));
        }
        let event = match self.pending.pop_front() {
            Some(event) => Some(event),
            None if self.status.is_some() => None,
            None => self.process.next().await.transpose()?,
        };
        self.pending_bytes -= event.as_ref().map_or(0, size).min(self.pending_bytes);
        if let Some(ExecEvent::Exited(status)) = &event {
            self.status = Some(status.clone());
        }
        Ok(event)
    }

    /// Receives what has arrived, as long as little of it is unread.
    fn look_ahead(&mut self) -> Result<(), Fault> {
        while self.known_status().is_none() && self.pending_bytes < POLL_BUFFER {
            match self.process.next().now_or_never().flatten() {
                Some(event) => {
                    let event = event?;
                    self.pending_bytes += size(&event);
                    self.pending.push_back(event);
                }
                None => break,
            }
        }
        Ok(())
    }

    fn known_status(&self) -> Option<ExitStatus> {
        match (&self.status, self.pending.back()) {
            (Some(status), _) | (None, Some(ExecEvent::Exited(status))) => Some(status.clone()),
            (None, _) => None,
        }
    }
}

impl Collected {
    fn push(&mut self, event: &ExecEvent, cap: usize) {
        let (stream, bytes): (&mut Vec<u8>, &Bytes) = match event {
            ExecEvent::Stdout(bytes) => (&mut self.stdout, bytes),
            ExecEvent::Stderr(bytes) => (&mut self.stderr, bytes),
            ExecEvent::Notice(_) | ExecEvent::Exited(_) => return,
        };
        let kept = bytes.len().min(cap.saturating_sub(stream.len()));
        stream.extend_from_slice(&bytes[..kept]);
        self.dropped += (bytes.len() - kept) as u64;
    }

    /// Returns both streams at their end, and how much is missing.
    fn complete(&mut self) -> (Bytes, Bytes, u64) {
        let (stdout, stderr) = self.complete.get_or_insert_with(|| {
            (
                std::mem::take(&mut self.stdout).into(),
                std::mem::take(&mut self.stderr).into(),
            )
        });
        (stdout.clone(), stderr.clone(), self.dropped)
    }
}

/// Events without output count as well, so that their number is limited.
fn size(event: &ExecEvent) -> usize {
    const EVENT: usize = 64;
    match event {
        ExecEvent::Stdout(bytes) | ExecEvent::Stderr(bytes) => bytes.len() + EVENT,
        ExecEvent::Notice(_) | ExecEvent::Exited(_) => EVENT,
    }
}

fn closed() -> Fault {
    Fault::closed("the process")
}

async fn within<T>(
    timeout: Option<Duration>,
    work: impl Future<Output = Result<T, Fault>>,
) -> Result<Option<T>, Fault> {
    match timeout {
        Some(timeout) => match tokio::time::timeout(timeout, work).await {
            Ok(result) => result.map(Some),
            Err(_) => Ok(None),
        },
        None => work.await.map(Some),
    }
}
