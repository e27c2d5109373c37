//! A running command.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::{AsyncWrite, DuplexStream};
use tokio::sync::mpsc;

use crate::{CommandCause, Error, ExitStatus, Output, OutputCollector, PtySize, Result, Signal};

/// A running command: its output as a stream of [`ExecEvent`]s, its input, and a handle for signals.
///
/// The stream ends after [`ExecEvent::Exited`] or an error. If the connection is lost before the exit
/// status arrives, that is an error, never an end. Dropping a `Process` ends the command: its channel
/// is closed, and the server sends a hangup to its process group.
///
/// ```
/// use sandbox_core::{ExecEvent, Process, Result};
///
/// async fn print(mut process: Process) -> Result<()> {
///     while let Some(event) = process.next().await {
///         match event? {
///             ExecEvent::Stdout(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
///             ExecEvent::Stderr(bytes) => eprint!("{}", String::from_utf8_lossy(&bytes)),
///             ExecEvent::Exited(status) => println!("{status}"),
///         }
///     }
///     Ok(())
/// }
/// ```
pub struct Process {
    events: mpsc::Receiver<Result<ExecEvent>>,
    stdin: Option<ProcessStdin>,
    control: ProcessControl,
    explain: Option<Explain>,
    // Behind a lock only to be `Sync`: it is never contended.
    explaining: Mutex<Option<Explaining>>,
}

type Explain = Box<dyn FnOnce(Error) -> Explaining + Send + Sync>;
type Explaining = Pin<Box<dyn Future<Output = Error> + Send>>;

/// An event of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended; nothing follows.
    Exited(ExitStatus),
}

/// The standard input of a running command. Dropping it, or calling `shutdown`, sends end of file.
pub struct ProcessStdin(DuplexStream);

/// Sends signals and terminal sizes to a running command. It is cheap to clone.
///
/// ```
/// use sandbox_core::{ProcessControl, PtySize, Result, Signal};
///
/// async fn stop(control: ProcessControl) -> Result<()> {
///     control.resize(PtySize { columns: 120, rows: 40 }).await?;
///     control.signal(Signal::Term).await
/// }
/// ```
#[derive(Clone)]
pub struct ProcessControl {
    messages: mpsc::Sender<ControlMessage>,
}

/// A request of a [`ProcessControl`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ControlMessage {
    /// Send this signal to the process group.
    Signal(Signal),
    /// Set the size of the terminal.
    Resize(PtySize),
}

/// The other end of a [`Process`], for the implementation that runs the command.
pub struct ProcessDriver {
    /// Accepts the events of the command. Closed when the `Process` is dropped.
    pub events: mpsc::Sender<Result<ExecEvent>>,
    /// Provides the input, until its end. `None` if there is no input.
    pub stdin: Option<DuplexStream>,
    /// Provides signals and terminal sizes.
    pub control: mpsc::Receiver<ControlMessage>,
}

/// How many events are buffered for a slow reader before the writer waits.
const EVENTS_BUFFERED: usize = 16;
const STDIN_BUFFERED: usize = 128 << 10;

impl Process {
    /// Creates a process and its other end. `stdin` says whether it has input. For implementations of
    /// [`Session`](crate::Session) and for tests.
    ///
    /// ```
    /// use sandbox_core::{ExecEvent, ExitStatus, Process};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> sandbox_core::Result<()> {
    /// let (process, driver) = Process::channel(false);
    /// driver.events.send(Ok(ExecEvent::Stdout("hi".into()))).await.unwrap();
    /// driver.events.send(Ok(ExecEvent::Exited(ExitStatus::Code(0)))).await.unwrap();
    /// assert_eq!(process.output(1024).await?.stdout_lossy(), "hi");
    /// # Ok(())
    /// # }
    /// ```
    pub fn channel(stdin: bool) -> (Self, ProcessDriver) {
        let (event_tx, events) = mpsc::channel(EVENTS_BUFFERED);
        let (control_tx, control) = mpsc::channel(EVENTS_BUFFERED);
        let (stdin_read, stdin_write) = match stdin.then(|| tokio::io::duplex(STDIN_BUFFERED)) {
            Some((read, write)) => (Some(read), Some(ProcessStdin(write))),
            None => (None, None),
        };
        let process = Self {
            events,
            stdin: stdin_write,
            control: ProcessControl {
                messages: control_tx,
            },
            explain: None,
            explaining: Mutex::default(),
        };
        (
            process,
            ProcessDriver {
                events: event_tx,
                stdin: stdin_read,
                control,
            },
        )
    }

    /// If the process ends with an error, passes the error through `explain`, which may take time to find
    /// out more.
    #[must_use]
    pub fn map_error<F>(mut self, explain: impl FnOnce(Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Error> + Send + 'static,
    {
        self.explain = Some(Box::new(move |error| Box::pin(explain(error))));
        self
    }

    /// Returns the next event; `None` after the exit. Dropping the future loses no event.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if the command timed out, or if the connection was lost before the exit
    /// status arrived.
    pub async fn next(&mut self) -> Option<Result<ExecEvent>> {
        std::future::poll_fn(|cx| self.poll_event(cx)).await
    }

    /// Takes its standard input. This works once.
    pub fn take_stdin(&mut self) -> Option<ProcessStdin> {
        self.stdin.take()
    }

    /// Returns a handle to send signals and terminal sizes.
    pub fn control(&self) -> ProcessControl {
        self.control.clone()
    }

    /// Closes its input unless taken, discards its output, and waits for its end.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn wait(self) -> Result<ExitStatus> {
        Ok(self.output(0).await?.status)
    }

    /// Closes its input unless taken, and collects its output until its end, at most `cap` bytes of each
    /// stream.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn output(mut self, cap: usize) -> Result<Output> {
        drop(self.stdin.take());
        let mut collector = OutputCollector::new(cap);
        while let Some(event) = self.next().await {
            match event? {
                ExecEvent::Exited(status) => return Ok(collector.finish(status)),
                event => collector.push(&event),
            }
        }
        let lost = Error::Command {
            cause: CommandCause::Lost,
            source: None,
        };
        match self.explain.take() {
            Some(explain) => Err(explain(lost).await),
            None => Err(lost),
        }
    }
}

impl Process {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ExecEvent>>> {
        let explaining = self
            .explaining
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if explaining.is_none() {
            match ready!(self.events.poll_recv(cx)) {
                Some(Err(error)) => match self.explain.take() {
                    Some(explain) => *explaining = Some(explain(error)),
                    None => return Poll::Ready(Some(Err(error))),
                },
                event => return Poll::Ready(event),
            }
        }
        let Some(future) = explaining else {
            return Poll::Pending;
        };
        let error = ready!(future.as_mut().poll(cx));
        *explaining = None;
        Poll::Ready(Some(Err(error)))
    }
}

impl Stream for Process {
    type Item = Result<ExecEvent>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.poll_event(cx)
    }
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process").finish_non_exhaustive()
    }
}

impl ProcessControl {
    /// Sends a signal to the command's process group. Returns once it is sent: SSH has no answer to a
    /// signal (RFC 4254, section 6.9).
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if the command has already ended.
    pub async fn signal(&self, signal: Signal) -> Result<()> {
        self.send(ControlMessage::Signal(signal)).await
    }

    /// Sets the size of the command's terminal.
    ///
    /// # Errors
    ///
    /// [`Error::Command`] if the command has already ended.
    pub async fn resize(&self, size: PtySize) -> Result<()> {
        self.send(ControlMessage::Resize(size)).await
    }

    async fn send(&self, message: ControlMessage) -> Result<()> {
        let ended = |_| Error::Command {
            cause: CommandCause::AlreadyEnded,
            source: None,
        };
        self.messages.send(message).await.map_err(ended)
    }
}

impl fmt::Debug for ProcessControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessControl").finish_non_exhaustive()
    }
}

impl AsyncWrite for ProcessStdin {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

impl fmt::Debug for ProcessStdin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessStdin").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn output_is_capped_and_says_so() {
        let (process, driver) = Process::channel(false);
        let run = tokio::spawn(async move {
            for _ in 0..1000 {
                driver
                    .events
                    .send(Ok(ExecEvent::Stdout(Bytes::from_static(b"0123456789"))))
                    .await
                    .unwrap();
            }
            driver
                .events
                .send(Ok(ExecEvent::Exited(ExitStatus::Code(0))))
                .await
                .unwrap();
        });
        let output = process.output(25).await.unwrap();
        run.await.unwrap();
        assert_eq!(output.stdout, "0123456789012345678901234");
        assert_eq!(output.stdout_dropped, 10_000 - 25);
        assert!(output.is_truncated());
    }

    #[tokio::test]
    async fn an_end_without_status_is_an_error() {
        let (process, driver) = Process::channel(false);
        drop(driver);
        let error = process.wait().await.unwrap_err();
        assert!(matches!(
            error,
            Error::Command {
                cause: CommandCause::Lost,
                ..
            }
        ));
    }

    #[tokio::test]
    async fn an_error_is_explained_once_and_whoever_asks_may_lose_patience() {
        fn is_shared<T: Send + Sync>(_: &T) {}
        let (process, driver) = Process::channel(false);
        let (knows, known) = tokio::sync::oneshot::channel::<&str>();
        let mut process = process.map_error(move |error| async move {
            Error::Command {
                cause: CommandCause::AlreadyEnded,
                source: Some(format!("{} {error}", known.await.unwrap()).into()),
            }
        });
        is_shared(&process);
        driver
            .events
            .send(Ok(ExecEvent::Stdout(Bytes::from_static(b"out"))))
            .await
            .unwrap();
        driver
            .events
            .send(Err(Error::Config {
                message: "beneath".into(),
            }))
            .await
            .unwrap();
        drop(driver);
        assert!(matches!(
            process.next().await,
            Some(Ok(ExecEvent::Stdout(_)))
        ));
        tokio::select! {
            biased;
            _ = process.next() => panic!("nobody knows yet"),
            () = tokio::task::yield_now() => {}
        }
        knows.send("above").unwrap();
        let error = process.next().await.unwrap().unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "above beneath"
        );
        assert!(process.next().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_input_is_its_end() {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let (mut process, mut driver) = Process::channel(true);
        let mut stdin = process.take_stdin().unwrap();
        stdin.write_all(b"hello").await.unwrap();
        drop(stdin);
        let mut read = String::new();
        driver
            .stdin
            .take()
            .unwrap()
            .read_to_string(&mut read)
            .await
            .unwrap();
        assert_eq!(read, "hello");
    }
}
