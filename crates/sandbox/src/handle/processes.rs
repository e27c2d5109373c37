//! Shared processes: several clients can attach to one, and it outlives them.

use std::fmt;

use bytes::Bytes;
use sandbox_core::guest::{
    Done, FrameKind, GuestRequest, InputTarget, ProcessEnd, ProcessRequest, ProcessSelector,
    ProcessSpec, ProcessStarted, SharedProcess, TerminalSize,
};
use sandbox_core::{
    ConnectionStage, Error, Escaped, ExitStatus, GuestChannel, GuestFrame, Result, Signal,
};

use super::Sandbox;
use super::diagnosing::Diagnoser;
use super::process_input::ProcessInput;

/// The most entries and bytes of a list, which a server may make up. sandbox-sshd runs 1,024 shared
/// processes at most.
const MAX_LISTED: usize = 8192;
const MAX_LISTED_BYTES: usize = 256 << 20;

impl Sandbox {
    /// Returns the shared processes of the sandbox. Its server has to be sandbox-sshd.
    pub fn processes(&self) -> SharedProcesses<'_> {
        SharedProcesses { sandbox: self }
    }
}

/// The shared processes of a sandbox. Created by [`Sandbox::processes`].
///
/// A *shared process* outlives the client that started it, and any client can attach to it, write to its input,
/// signal it and resize its terminal. Its output goes to the clients that are attached at the moment; without any it
/// is read and dropped, so the process never waits for a reader. A client that does not read slows the process down
/// for 30 seconds, and is detached then. The end of a process is remembered for 30 seconds.
///
/// A [`Job`](crate::Job) keeps its output in a log instead.
///
/// All methods return [`Error::Refused`] for what the server does not carry out, with a
/// [code](crate::RefusalCode), [`Error::Unsupported`] if the server is not sandbox-sshd or too old, and
/// [`Error::Connection`].
///
/// ```no_run
/// use sandbox::{InputTarget, ProcessEvent, ProcessSpec};
///
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let processes = sbx.processes();
/// let mut shell = processes.start(ProcessSpec::new("sh").stdin().tag("shell")).await?;
/// // Also from another program that knows the id or the tag:
/// processes.write_input("shell", InputTarget::Stdin, b"echo hello; exit 3\n").await?;
/// while let Some(event) = shell.next().await {
///     match event? {
///         ProcessEvent::Stdout(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
///         ProcessEvent::Ended(status) => println!("process {}: {status}", shell.pid()),
///         _ => {}
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct SharedProcesses<'a> {
    sandbox: &'a Sandbox,
}

/// A shared process to which this client is attached. Dropping it detaches; the process goes on.
pub struct AttachedProcess {
    pid: u32,
    channel: GuestChannel,
    diagnoser: Diagnoser,
    is_over: bool,
}

/// What happens to a shared process.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ProcessEvent {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It wrote to its terminal.
    Terminal(Bytes),
    /// It ended; nothing follows. All that it wrote came before.
    Ended(ExitStatus),
}

impl SharedProcesses<'_> {
    /// Starts a process, and attaches to it. It gets the environment of the sandbox, but not the variables that only
    /// this handle has ([`SandboxBuilder::secret_env`](crate::SandboxBuilder::secret_env)), because all clients see how
    /// it was started.
    ///
    /// A program that cannot be run is no error: it has the id 0, a message on standard error, and the exit code 127
    /// if it does not exist, else 126. If the future is dropped, the process may have been started.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`Invalid`](crate::RefusalCode::Invalid) for a directory that does not exist,
    /// [`UnknownUser`](crate::RefusalCode::UnknownUser) or [`PermissionDenied`](crate::RefusalCode::PermissionDenied)
    /// for a user, [`LimitReached`](crate::RefusalCode::LimitReached) if 1,024 run.
    pub async fn start(&self, spec: ProcessSpec) -> Result<AttachedProcess> {
        self.open_events(ProcessRequest::Start(Box::new(spec)))
            .await
    }

    /// Attaches to a process, by its id or its tag. Only what it writes from now on arrives.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`] with [`NotFound`](crate::RefusalCode::NotFound) if there is none, or if it has ended more
    /// than 30 seconds ago.
    pub async fn attach(&self, process: impl Into<ProcessSelector>) -> Result<AttachedProcess> {
        self.open_events(ProcessRequest::Attach(process.into()))
            .await
    }

    /// Lists those that run, the oldest first.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`], also for a list that no server of ours sends, because it is too long.
    pub async fn list(&self) -> Result<Vec<SharedProcess>> {
        let mut channel = self.open(ProcessRequest::List).await?;
        let listed = receive_list(&mut channel).await;
        self.diagnose(listed).await
    }

    /// Opens the input of a process for more than one write. What several clients write arrives in whole writes of
    /// up to 64 KiB, one after the other.
    ///
    /// # Errors
    ///
    /// [`Error::Connection`]. Whether there is such a process turns out with the first write.
    pub async fn input(
        &self,
        process: impl Into<ProcessSelector>,
        target: InputTarget,
    ) -> Result<ProcessInput> {
        let channel = self.sandbox.session().open_guest().await?;
        let diagnoser = self.sandbox.inner.diagnoser.clone();
        ProcessInput::open(channel, process.into(), target, diagnoser).await
    }

    /// Writes data to the input of a process. Returns when all of it is written, which takes as long as the process
    /// does not read.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`NotFound`](crate::RefusalCode::NotFound) if there is no such process that runs,
    /// [`Invalid`](crate::RefusalCode::Invalid) if it has no such input, or has closed it.
    pub async fn write_input(
        &self,
        process: impl Into<ProcessSelector>,
        target: InputTarget,
        data: &[u8],
    ) -> Result<()> {
        let mut input = self.input(process, target).await?;
        input.write(data).await?;
        input.finish().await
    }

    /// Closes the standard input of a process, after what was written to it. Closing it twice changes nothing.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`NotFound`](crate::RefusalCode::NotFound) if there is no such process that runs,
    /// [`Invalid`](crate::RefusalCode::Invalid) if it has a terminal.
    pub async fn close_input(&self, process: impl Into<ProcessSelector>) -> Result<()> {
        let mut channel = self
            .open(ProcessRequest::CloseInput(process.into()))
            .await?;
        let closed = channel.reply_whenever::<Done>().await;
        self.diagnose(closed).await.map(drop)
    }

    /// Sends a signal to the process group of a process.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`NotFound`](crate::RefusalCode::NotFound) if there is no such process that runs,
    /// [`Invalid`](crate::RefusalCode::Invalid) for a signal that its system does not have.
    pub async fn signal(&self, process: impl Into<ProcessSelector>, signal: Signal) -> Result<()> {
        self.call(ProcessRequest::Signal {
            process: process.into(),
            signal: signal.name().to_owned(),
        })
        .await
    }

    /// Sets the size of the terminal of a process.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`NotFound`](crate::RefusalCode::NotFound) if there is no such process that runs,
    /// [`Invalid`](crate::RefusalCode::Invalid) if it has no terminal.
    pub async fn resize(
        &self,
        process: impl Into<ProcessSelector>,
        size: TerminalSize,
    ) -> Result<()> {
        self.call(ProcessRequest::Resize {
            process: process.into(),
            size,
        })
        .await
    }

    async fn open_events(&self, request: ProcessRequest) -> Result<AttachedProcess> {
        let mut channel = self.open(request).await?;
        let started = channel.reply::<ProcessStarted>().await;
        Ok(AttachedProcess {
            pid: self.diagnose(started).await?.pid,
            channel,
            diagnoser: self.sandbox.inner.diagnoser.clone(),
            is_over: false,
        })
    }

    /// Carries out a request to which there is only one reply.
    async fn call(&self, request: ProcessRequest) -> Result<()> {
        let mut channel = self.open(request).await?;
        let done = channel.reply::<Done>().await;
        self.diagnose(done).await.map(drop)
    }

    async fn open(&self, request: ProcessRequest) -> Result<GuestChannel> {
        let mut channel = self.sandbox.session().open_guest().await?;
        let sent = channel.request(&GuestRequest::Process(request)).await;
        self.diagnose(sent).await?;
        Ok(channel)
    }

    async fn diagnose<T>(&self, result: Result<T>) -> Result<T> {
        self.sandbox.inner.diagnoser.diagnose_result(result).await
    }
}

impl AttachedProcess {
    /// Returns its id inside the sandbox; 0 if its program could not be run.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Waits for the next event; `None` after the end. Dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// [`Error::Refused`]: [`TimedOut`](crate::RefusalCode::TimedOut) if the process was killed because its timeout has
    /// elapsed, [`TooSlow`](crate::RefusalCode::TooSlow) if this client has not read for too long.
    /// [`Error::Connection`] if the connection is lost. Nothing follows an error, but the process may go on: attach
    /// to it again.
    pub async fn next(&mut self) -> Option<Result<ProcessEvent>> {
        if self.is_over {
            return None;
        }
        let received = self.receive().await;
        let event = self.diagnoser.diagnose_result(received).await;
        self.is_over = matches!(event, Ok(ProcessEvent::Ended(_)) | Err(_));
        Some(event)
    }

    /// Waits for the end of the process, and drops its output.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn wait(mut self) -> Result<ExitStatus> {
        while let Some(event) = self.next().await {
            if let ProcessEvent::Ended(status) = event? {
                return Ok(status);
            }
        }
        Err(violation("it has not said how the process has ended"))
    }

    async fn receive(&mut self) -> Result<ProcessEvent> {
        let frame = match self.channel.next().await? {
            Some(GuestFrame::Frame(frame)) => frame,
            Some(GuestFrame::Refused(refusal)) => return Err(Error::Refused(Box::new(refusal))),
            Some(_) | None => return Err(violation("the events have no end")),
        };
        match frame.kind {
            FrameKind::Content => Ok(ProcessEvent::Stdout(frame.payload)),
            FrameKind::Stderr => Ok(ProcessEvent::Stderr(frame.payload)),
            FrameKind::Terminal => Ok(ProcessEvent::Terminal(frame.payload)),
            FrameKind::Message => {
                match serde_json::from_slice(&frame.payload).map_err(malformed)? {
                    ProcessEnd::Exited(code) => Ok(ProcessEvent::Ended(ExitStatus::Code(code))),
                    ProcessEnd::Killed(name) => match name.parse() {
                        Ok(signal) => Ok(ProcessEvent::Ended(ExitStatus::Signal(signal))),
                        Err(_) => Err(violation("the name of a signal is malformed")),
                    },
                    _ => Err(violation("the end of the process is of an unknown kind")),
                }
            }
            FrameKind::Refusal | FrameKind::ContentEnd | FrameKind::Taken => {
                Err(violation("an event was expected"))
            }
        }
    }
}

impl fmt::Debug for AttachedProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AttachedProcess")
            .field("pid", &self.pid)
            .finish_non_exhaustive()
    }
}

async fn receive_list(channel: &mut GuestChannel) -> Result<Vec<SharedProcess>> {
    let mut listed = Vec::new();
    let mut bytes = 0;
    loop {
        let frame = match channel.next_at_once().await? {
            Some(GuestFrame::Frame(frame)) => frame,
            Some(GuestFrame::Refused(refusal)) => return Err(Error::Refused(Box::new(refusal))),
            Some(_) | None => return Err(violation("the list has no end")),
        };
        match frame.kind {
            FrameKind::Message => {
                listed.push(serde_json::from_slice(&frame.payload).map_err(malformed)?)
            }
            FrameKind::ContentEnd => return Ok(listed),
            FrameKind::Refusal
            | FrameKind::Content
            | FrameKind::Stderr
            | FrameKind::Terminal
            | FrameKind::Taken => return Err(violation("an entry of a list was expected")),
        }
        bytes += frame.payload.len();
        if listed.len() > MAX_LISTED || bytes > MAX_LISTED_BYTES {
            return Err(violation("the list of shared processes is too long"));
        }
    }
}

/// What the error quotes of the message is escaped.
fn malformed(error: serde_json::Error) -> Error {
    violation(&Escaped::new(&error.to_string()).to_string())
}

/// The error of a server that does not keep to the protocol.
fn violation(what: &str) -> Error {
    Error::connection(
        ConnectionStage::Channel,
        format!("the sandbox's server violates the guest protocol: {what}"),
        None,
    )
}
