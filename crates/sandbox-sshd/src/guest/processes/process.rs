//! One shared process, from its start to the end of its output.

use std::future::poll_fn;
use std::io;
use std::pin::pin;
use std::process::ExitStatus;
use std::str::FromStr;
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};
use std::time::Duration;

use nix::sys::signal::Signal;
use pty_process::Size;
use sandbox_core::guest::{
    self, FrameKind, InputTarget, ProcessEnd, ProcessSpec, Refusal, RefusalCode, TerminalSize,
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio_util::sync::CancellationToken;

use super::attach::Attached;
use super::invalid;
use super::subscribers::{Chunk, Outcome, Subscribers};
use crate::channel::output::Exit;
use crate::channel::pump::{OutputEnd, OutputReader};
use crate::lifetime::{ActivityGuard, Lifetime};
use crate::lock::lock;
use crate::process::pty::TerminalWriter;
use crate::process::started::StartedProcess;
use crate::process::table::Leader;

type Input = Box<dyn AsyncWrite + Send + Unpin>;
type Reader = Box<dyn AsyncRead + Send + Unpin>;

/// How long a process that has closed its input may take to be reaped, if it ends.
const REAP_DELAY: Duration = Duration::from_millis(100);

/// A process that outlives the channel that started it.
pub(super) struct SharedProcess {
    pid: u32,
    spec: ProcessSpec,
    /// Present until the process is reaped.
    leader: Mutex<Option<Leader>>,
    /// Held during a write, so that the writes of several clients follow each other.
    input: tokio::sync::Mutex<Option<Input>>,
    /// Present until the process has ended, if it has one.
    terminal: Mutex<Option<TerminalWriter>>,
    subscribers: Subscribers,
    /// Cancelled when the process was reaped.
    exited: CancellationToken,
}

/// What the server reads of a process.
pub(super) struct Streams {
    child: Child,
    outputs: Vec<(FrameKind, Reader)>,
}

impl SharedProcess {
    /// Returns the process, and its streams for [`run`](Self::run).
    pub(super) fn new(spec: ProcessSpec, started: StartedProcess) -> (Arc<Self>, Streams) {
        let StartedProcess {
            child,
            leader,
            stdin,
            stdout,
            stderr,
            terminal,
        } = started;
        let kind = match &terminal {
            Some(_) => FrameKind::Terminal,
            None => FrameKind::Content,
        };
        let mut outputs = vec![(kind, stdout)];
        outputs.extend(stderr.map(|stderr| (FrameKind::Stderr, stderr)));
        let process = Arc::new(Self {
            pid: leader.pid().as_raw().cast_unsigned(),
            spec,
            leader: Mutex::new(Some(leader)),
            input: tokio::sync::Mutex::new(stdin),
            terminal: Mutex::new(terminal),
            subscribers: Subscribers::default(),
            exited: CancellationToken::new(),
        });
        (process, Streams { child, outputs })
    }

    pub(super) fn pid(&self) -> u32 {
        self.pid
    }

    pub(super) fn tag(&self) -> Option<&str> {
        self.spec.tag.as_deref()
    }

    pub(super) fn description(&self) -> guest::SharedProcess {
        guest::SharedProcess::new(self.pid, self.spec.clone())
    }

    pub(super) fn has_exited(&self) -> bool {
        self.exited.is_cancelled()
    }

    /// How the process has ended, once all of its output is read.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        self.subscribers.outcome()
    }

    pub(super) fn attach(self: Arc<Self>) -> Attached {
        Attached {
            subscription: self.subscribers.subscribe(),
            process: self,
        }
    }

    /// Sends a line of the server's own to those that are attached.
    pub(super) async fn publish_notice(&self, message: &str) {
        let (kind, line_end) = match self.spec.terminal {
            Some(_) => (FrameKind::Terminal, "\r\n"),
            None => (FrameKind::Stderr, "\n"),
        };
        let data = format!("sandbox-sshd: {message}{line_end}").into();
        self.subscribers.publish(&Chunk { kind, data }).await;
    }

    /// Passes the output on until the process has ended and its output is read. Returns what other processes
    /// still hold open.
    pub(super) async fn run(
        &self,
        streams: Streams,
        output_grace: Duration,
        lifetime: &Lifetime,
        activity: ActivityGuard,
    ) -> Vec<Reader> {
        let Streams { mut child, outputs } = streams;
        let is_reading_over = CancellationToken::new();
        let end = OutputEnd {
            exited: &self.exited,
            grace: output_grace,
        };
        let waiting = async {
            let (status, is_timed_out) = self.wait(&mut child, lifetime).await;
            self.exited.cancel();
            if is_timed_out {
                // A slow client, or a process outside of the group, does not defer the end.
                tokio::time::sleep(output_grace).await;
                is_reading_over.cancel();
            }
            self.end_input().await;
            (status, is_timed_out)
        };
        let mut readers: Vec<_> = outputs
            .into_iter()
            .map(|(kind, reader)| (kind, OutputReader::new(reader, end)))
            .collect();
        let reading = async {
            let mut readers = readers.iter_mut();
            let (first, second) = (readers.next(), readers.next());
            tokio::select! {
                _ = async { tokio::join!(self.pass_on(first), self.pass_on(second)) } => {}
                () = is_reading_over.cancelled() => {}
            }
        };
        let ((status, is_timed_out), ()) = tokio::join!(waiting, reading);
        self.subscribers.finish(if is_timed_out {
            Outcome::TimedOut
        } else {
            Outcome::Ended(to_end(status))
        });
        // Background processes do not keep the sandbox alive.
        drop(activity);
        let held = readers
            .into_iter()
            // A terminal is hung up instead.
            .filter(|(kind, reader)| reader.is_held() && *kind != FrameKind::Terminal);
        held.map(|(_, reader)| reader.into_inner()).collect()
    }

    async fn pass_on(&self, output: Option<&mut (FrameKind, OutputReader<'_, Reader>)>) {
        if let Some((kind, reader)) = output {
            let kind = *kind;
            while let Some(data) = reader.next().await {
                self.subscribers.publish(&Chunk { kind, data }).await;
            }
        }
    }

    /// Waits for the end of the process, and kills it when its time is over. Returns whether it was killed.
    async fn wait(&self, child: &mut Child, lifetime: &Lifetime) -> (io::Result<ExitStatus>, bool) {
        let reaped = self.reap(child);
        let mut reaped = pin!(reaped);
        if let Some(timeout) = self.spec.timeout_ms {
            tokio::select! {
                biased;
                status = reaped.as_mut() => return (status, false),
                // A paused sandbox does not use up the time of its processes.
                () = lifetime.sleep(Duration::from_millis(timeout)) => {}
            }
            self.signal_group(Signal::SIGKILL);
            return (reaped.await, true);
        }
        (reaped.await, false)
    }

    /// Reaps the process when it has ended. From then on nothing signals its group, whose id may be another's.
    async fn reap(&self, child: &mut Child) -> io::Result<ExitStatus> {
        let mut ended = pin!(child.wait());
        poll_fn(|context| {
            let mut leader = lock(&self.leader);
            let status = ready!(ended.as_mut().poll(context));
            *leader = None;
            Poll::Ready(status)
        })
        .await
    }

    /// Closes the input of a process that has ended.
    async fn end_input(&self) {
        *self.input.lock().await = None;
        *lock(&self.terminal) = None;
    }

    /// Returns whether the process was there to be signalled.
    fn signal_group(&self, signal: Signal) -> bool {
        match &*lock(&self.leader) {
            Some(leader) => {
                leader.signal_group(signal);
                true
            }
            None => false,
        }
    }

    /// Sends a signal to the process group.
    pub(super) fn signal(&self, name: &str) -> Result<(), Refusal> {
        let name = name.strip_prefix("SIG").unwrap_or(name);
        let signal = Signal::from_str(&format!("SIG{name}"))
            .map_err(|_| invalid(format!("this system has no signal {name:?}")))?;
        if self.signal_group(signal) {
            Ok(())
        } else {
            Err(self.ended())
        }
    }

    pub(super) fn resize(&self, size: TerminalSize) -> Result<(), Refusal> {
        match &*lock(&self.terminal) {
            Some(terminal) => {
                terminal.resize(Size::new(size.rows, size.columns));
                Ok(())
            }
            None if self.has_exited() => Err(self.ended()),
            None => Err(invalid(format!("process {} has no terminal", self.pid))),
        }
    }

    pub(super) fn check_target(&self, target: InputTarget) -> Result<(), Refusal> {
        let pid = self.pid;
        match (target, self.spec.terminal) {
            (InputTarget::Terminal, Some(_)) => Ok(()),
            (InputTarget::Stdin, None) if self.spec.stdin => Ok(()),
            (InputTarget::Terminal, None) => Err(invalid(format!("process {pid} has no terminal"))),
            (InputTarget::Stdin, None) => Err(invalid(format!(
                "process {pid} was started without standard input"
            ))),
            (InputTarget::Stdin, Some(_)) => Err(invalid(format!(
                "process {pid} has a terminal: send the input to that"
            ))),
            _ => Err(invalid("this server does not know the target of the input")),
        }
    }

    /// Writes all of the data, at the speed at which the process reads.
    pub(super) async fn write_input(&self, data: &[u8]) -> Result<(), Refusal> {
        let writing = async {
            let mut input = self.input.lock().await;
            let Some(stream) = input.as_mut() else {
                return Err(if self.has_exited() {
                    self.ended()
                } else {
                    invalid(format!("the input of process {} is closed", self.pid))
                });
            };
            let pid = self.pid;
            match stream.write_all(data).await {
                Ok(()) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    // A process that ends closes its input a moment before it can be reaped.
                    tokio::time::sleep(REAP_DELAY).await;
                    Err(invalid(format!("process {pid} has closed its input")))
                }
                Err(error) => Err(invalid(format!(
                    "the input of process {pid} cannot be written: {error}"
                ))),
            }
        };
        tokio::select! {
            biased;
            written = writing => written,
            () = self.exited.cancelled() => Err(self.ended()),
        }
    }

    /// Closes standard input after what was written to it.
    pub(super) async fn close_input(&self) -> Result<(), Refusal> {
        if self.spec.terminal.is_some() {
            return Err(invalid(format!(
                "process {} has a terminal, whose input cannot be closed: send the end-of-file character",
                self.pid
            )));
        }
        tokio::select! {
            biased;
            mut input = self.input.lock() => *input = None,
            // Its input is closed with it.
            () = self.exited.cancelled() => {}
        }
        Ok(())
    }

    pub(super) fn ended(&self) -> Refusal {
        Refusal::new(
            RefusalCode::NotFound,
            format!("process {} has ended", self.pid),
        )
    }

    pub(super) fn timed_out(&self) -> Refusal {
        let timeout = Duration::from_millis(self.spec.timeout_ms.unwrap_or_default());
        let pid = self.pid;
        Refusal::new(
            RefusalCode::TimedOut,
            format!("process {pid} was killed, because it has not ended within {timeout:?}"),
        )
    }
}

fn to_end(status: io::Result<ExitStatus>) -> ProcessEnd {
    match status.map_or(Exit::Code(255), Exit::from) {
        Exit::Code(code) => ProcessEnd::Exited(code),
        Exit::Signal { signal, .. } => ProcessEnd::Killed(signal.name().to_owned()),
    }
}
