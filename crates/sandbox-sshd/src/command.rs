//! One command on one channel, from its start to its exit status.

use std::convert::Infallible;
use std::io;
use std::process::{ExitStatus, Stdio};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use nix::sys::signal::Signal;
use pty_process::Size;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::process::Child;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::inbox::InboxReader;
use crate::launch::{CannotLaunch, Launch};
use crate::output::{Exit, Lost, Output};
use crate::processes::{Leader, Processes};
use crate::pty::{Terminal, TerminalWriter};
use crate::pump::{Stream, pump};

/// How long the others of a group have after its leader has hung up.
const FOLLOWERS_GRACE: Duration = Duration::from_millis(200);
/// How often the leader is looked at meanwhile.
const LOOK: Duration = Duration::from_millis(10);
/// What a terminal takes for the end of input.
const END_OF_TRANSMISSION: [u8; 1] = [4];

/// What a client may ask of a running command.
#[derive(Debug)]
pub(crate) enum Control {
    Signal(sandbox_core::Signal),
    Resize(Size),
}

/// A command's ends of its channel.
pub(crate) struct Ends {
    pub(crate) input: InboxReader,
    pub(crate) output: Output,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// Runs a command to its end. When the client goes first, the command's process group gets
/// SIGHUP, and SIGKILL after `kill_grace`.
pub(crate) async fn run(
    processes: &Arc<Processes>,
    launch: Result<Launch, CannotLaunch>,
    terminal: Option<Terminal>,
    ends: Ends,
    kill_grace: Duration,
) -> Result<(), Lost> {
    let gone = ends.input.gone();
    let started = match launch {
        Ok(launch) => Running::start(processes, &launch, terminal).await,
        Err(refused) => Err(refused),
    };
    match started {
        Ok(running) => running.supervise(ends, kill_grace).await,
        Err(refused) => unless(&gone, refuse(&ends.output, refused)).await,
    }
}

/// Says why nothing was started.
pub(crate) async fn refuse(output: &Output, refused: CannotLaunch) -> Result<(), Lost> {
    output.complain(&refused.message).await?;
    output.finish(Some(Exit::Code(refused.code))).await
}

/// What `sending` gives, unless the client goes first.
pub(crate) async fn unless(
    gone: &CancellationToken,
    sending: impl Future<Output = Result<(), Lost>>,
) -> Result<(), Lost> {
    tokio::select! {
        sent = sending => sent,
        () = gone.cancelled() => Err(Lost),
    }
}

/// Signals a group as a client asks, by a name that this system knows.
pub(crate) fn pass_on(leader: &Leader, signal: &sandbox_core::Signal) {
    match Signal::from_str(&format!("SIG{signal}")) {
        Ok(signal) => leader.signal_group(signal),
        Err(_) => tracing::debug!(%signal, "a signal that this system does not have was asked for"),
    }
}

struct Running {
    child: Child,
    leader: Leader,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    stdout: Box<dyn AsyncRead + Send + Unpin>,
    stderr: Option<Box<dyn AsyncRead + Send + Unpin>>,
    terminal: Option<TerminalWriter>,
}

impl Running {
    async fn start(
        processes: &Arc<Processes>,
        launch: &Launch,
        terminal: Option<Terminal>,
    ) -> Result<Self, CannotLaunch> {
        let Some(terminal) = terminal else {
            let start = |launch: &Launch| {
                let mut child = crate::spawn::grouped(
                    launch,
                    [Stdio::piped(), Stdio::piped(), Stdio::piped()],
                )?;
                let streams = child
                    .stdin
                    .take()
                    .zip(child.stdout.take())
                    .zip(child.stderr.take());
                let streams = streams.ok_or_else(|| io::Error::other("a pipe is missing"))?;
                Ok((child, streams))
            };
            let (child, leader, ((stdin, stdout), stderr)) =
                crate::spawn::start(processes, launch, start).await?;
            let (stdin, stdout, stderr) = (
                Box::new(stdin),
                Box::new(stdout),
                Some(Box::new(stderr) as _),
            );
            return Ok(Self {
                child,
                leader,
                stdin,
                stdout,
                stderr,
                terminal: None,
            });
        };
        let mut terminal = Some(terminal);
        let start = move |launch: &Launch| {
            let terminal = terminal
                .take()
                .ok_or_else(|| io::Error::from(io::ErrorKind::ExecutableFileBusy))?;
            terminal.spawn(launch)
        };
        let (child, leader, (reader, writer)) =
            crate::spawn::start(processes, launch, start).await?;
        let (stdin, stdout) = (Box::new(writer.clone()), Box::new(reader));
        Ok(Self {
            child,
            leader,
            stdin,
            stdout,
            stderr: None,
            terminal: Some(writer),
        })
    }

    async fn supervise(self, ends: Ends, kill_grace: Duration) -> Result<(), Lost> {
        let Self {
            mut child,
            leader,
            stdin,
            stdout,
            stderr,
            terminal,
        } = self;
        let Ends {
            mut input,
            output,
            mut control,
        } = ends;
        let gone = input.gone();
        let exited = CancellationToken::new();
        let supervised = async {
            let waiting = async {
                let status = wait(&mut child, &leader, &mut control, terminal.as_ref()).await;
                exited.cancel();
                status
            };
            let errors = async {
                match stderr {
                    Some(stderr) => pump(stderr, Stream::Stderr, &output, &exited).await,
                    None => Ok(()),
                }
            };
            let reading =
                async { tokio::try_join!(pump(stdout, Stream::Stdout, &output, &exited), errors) };
            let ending = async { tokio::join!(waiting, reading) };
            let feeding = async {
                if let Err(error) = feed(&mut input, stdin, terminal.is_some()).await {
                    // A command must not take half of its input for all of it.
                    leader.signal_group(Signal::SIGKILL);
                    output
                        .complain(&format!(
                            "what came on standard input cannot be read back: {error}"
                        ))
                        .await
                        .ok();
                }
                // The command's end is waited for, not the input's.
                std::future::pending::<Infallible>().await
            };
            tokio::select! {
                ended = ending => ended,
                never = feeding => match never {},
            }
        };
        tokio::select! {
            biased;
            (status, sent) = supervised => {
                drop(leader);
                sent?;
                unless(&gone, async {
                    match status {
                        Ok(status) => output.finish(Some(status.into())).await,
                        Err(error) => {
                            output.complain(&format!("the exit status is lost: {error}")).await?;
                            output.finish(None).await
                        }
                    }
                })
                .await
            }
            () = gone.cancelled() => {
                // With its last descriptor a terminal hangs up too.
                drop(terminal);
                hang_up(child, leader, kill_grace).await;
                Err(Lost)
            }
        }
    }
}

async fn wait(
    child: &mut Child,
    leader: &Leader,
    control: &mut mpsc::Receiver<Control>,
    terminal: Option<&TerminalWriter>,
) -> io::Result<ExitStatus> {
    loop {
        tokio::select! {
            biased;
            status = child.wait() => return status,
            Some(control) = control.recv() => match (control, terminal) {
                (Control::Signal(signal), _) => pass_on(leader, &signal),
                (Control::Resize(size), Some(terminal)) => terminal.resize(size),
                (Control::Resize(_), None) => {}
            },
        }
    }
}

/// Hands input on until it is over, or the command takes no more.
async fn feed(
    input: &mut InboxReader,
    mut stdin: Box<dyn AsyncWrite + Send + Unpin>,
    terminal: bool,
) -> io::Result<()> {
    let mut taken = true;
    while taken && let Some(data) = input.next().await? {
        taken = stdin.write_all(&data).await.is_ok();
    }
    if terminal && taken {
        // A terminal that is not listened to any more needs no end either.
        stdin.write_all(&END_OF_TRANSMISSION).await.ok();
    }
    input.discard();
    Ok(())
}

/// Ends a command whose client has gone. Its leader is not waited for before the last signal,
/// so that the group's number cannot be anybody else's.
async fn hang_up(mut child: Child, leader: Leader, grace: Duration) {
    leader.signal_group(Signal::SIGHUP);
    leader.signal_group(Signal::SIGCONT);
    let deadline = tokio::time::Instant::now() + grace;
    while !leader.has_ended() && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(LOOK).await;
    }
    let left = deadline.saturating_duration_since(tokio::time::Instant::now());
    tokio::time::sleep(left.min(FOLLOWERS_GRACE)).await;
    leader.signal_group(Signal::SIGKILL);
    if let Err(error) = child.wait().await {
        tracing::warn!(%error, "a command that was ended cannot be waited for");
    }
}
