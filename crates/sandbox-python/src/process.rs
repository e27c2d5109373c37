//! Running commands.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt;
use pyo3::prelude::*;
use sandbox::{ExecEvent, ExitStatus, Process, ProcessControl, ProcessStdin, PtySize, Result};
use tokio::io::AsyncWriteExt;
use tokio::sync::Mutex;

use crate::calls::{Shared, nothing, operation, share};
use crate::core::arguments::{optional_duration, returncode, signal};
use crate::core::fault::Fault;
use crate::operation::Operation;
use crate::records::exec_event;
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
}

/// The output that was not read yet.
struct OutputState {
    process: Process,
    /// Events that `poll` has received.
    pending: VecDeque<ExecEvent>,
    pending_bytes: usize,
    /// What `communicate` has collected, also before a timeout.
    collected: Collected,
    status: Option<ExitStatus>,
}

/// Both streams, each up to a cap.
#[derive(Default)]
struct Collected {
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    dropped: u64,
}

impl RawProcess {
    pub(crate) fn new(mut process: Process) -> Self {
        let parts = Parts {
            stdin: Mutex::new(process.take_stdin()),
            control: process.control(),
            output: Mutex::new(Some(OutputState {
                process,
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
    /// The next event as a pair; `None` after the end.
    fn next(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            let mut output = parts.output.lock().await;
            let state = output.as_mut().ok_or_else(closed)?;
            Ok(Value::optional(state.next().await?, exec_event))
        })
    }

    /// The exit code, if the command has ended and little output is unread. Does not wait.
    fn poll(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            let mut output = parts.output.lock().await;
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
                let mut output = parts.output.lock().await;
                let state = output.as_mut().ok_or_else(closed)?;
                while state.next().await?.is_some() {}
                Ok::<_, Fault>(state.status.as_ref().map(returncode))
            };
            let status = within(timeout, finish).await?;
            Ok(Value::optional(status.flatten(), Value::Signed))
        })
    }

    /// Writes the input and closes it, collects the output, and waits for the end. `None` after the timeout; what was
    /// collected is kept for the next call.
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
                let mut output = parts.output.lock().await;
                let state = output.as_mut().ok_or_else(closed)?;
                while let Some(event) = state.next().await? {
                    state.collected.push(&event, cap);
                }
                let collected = std::mem::take(&mut state.collected);
                Ok::<_, Fault>((collected, state.status.as_ref().map(returncode)))
            };
            let both = async {
                let ((), collected) = tokio::join!(write, collect);
                collected
            };
            let Some((collected, status)) = within(timeout, both).await? else {
                return Ok(Value::None);
            };
            Ok(Value::Tuple(vec![
                Value::optional(status, Value::Signed),
                Value::Bytes(collected.stdout.into()),
                Value::Bytes(collected.stderr.into()),
                Value::Int(collected.dropped),
            ]))
        })
    }

    /// Writes to the standard input. Waits while the command does not read.
    fn write(&self, data: Vec<u8>) -> Operation {
        operation(&self.parts, |parts| async move {
            let mut stdin = parts.stdin.lock().await;
            let open = stdin.as_mut().ok_or_else(|| Fault::closed("the input"))?;
            open.write_all(&data).await.map_err(|error| {
                Fault::new(
                    "CommandExecutionError",
                    format!("the command no longer reads its input: {error}"),
                )
            })?;
            Ok(Value::Int(data.len() as u64))
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

    /// Ends the channel: a command that still runs is hung up.
    fn close(&self) -> Operation {
        operation(&self.parts, |parts| async move {
            drop(parts.stdin.lock().await.take());
            drop(parts.output.lock().await.take());
            Ok(Value::None)
        })
    }
}

impl OutputState {
    /// Returns the next event. Dropping the future loses none.
    async fn next(&mut self) -> Result<Option<ExecEvent>, Fault> {
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
