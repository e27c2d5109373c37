//! A running command.

use std::fmt;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use futures_core::Stream;
use tokio::io::{AsyncWrite, DuplexStream};
use tokio::sync::mpsc;

use super::control::{ControlMessage, ProcessControl};
use crate::{CommandCause, Error, ExitStatus, Notice, Output, OutputCollector, Result};

/// A running command: its output as a stream of [`ExecEvent`]s, its input, and a handle for
/// signals.
///
/// The stream ends after [`ExecEvent::Exited`] or an error. If the connection is lost before the
/// exit status arrives, that is an error, never an end. Dropping a `Process` ends the command: its
/// channel is closed, and the server sends a hangup to its process group.
///
/// ```
/// use sandbox_core::{ExecEvent, Process, Result};
///
/// async fn print(mut process: Process) -> Result<()> {
///     while let Some(event) = process.next().await {
///         match event? {
///             ExecEvent::Stdout(bytes) => print!("{}", String::from_utf8_lossy(&bytes)),
///             ExecEvent::Stderr(bytes) => eprint!("{}", String::from_utf8_lossy(&bytes)),
///             ExecEvent::Notice(notice) => eprintln!("{notice:?}"),
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
    map_error: Option<ErrorMapper>,
    // The lock only makes the future `Sync`: it is never contended.
    mapping: Mutex<Option<MappedError>>,
}

type ErrorMapper = Box<dyn FnOnce(Error) -> MappedError + Send + Sync>;
type MappedError = Pin<Box<dyn Future<Output = Error> + Send>>;

/// An event of a running command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExecEvent {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// Something is missing at this place of the output.
    Notice(Notice),
    /// It ended; nothing follows.
    Exited(ExitStatus),
}

/// The standard input of a running command. Dropping it, or calling `shutdown`, sends end of file.
pub struct ProcessStdin(DuplexStream);

/// The other end of a [`Process`], for the implementation that runs the command.
pub struct ProcessDriver {
    /// Accepts the events of the command. Closed when the `Process` is dropped.
    pub events: mpsc::Sender<Result<ExecEvent>>,
    /// Provides the input, until its end. `None` if there is no input.
    pub stdin: Option<DuplexStream>,
    /// Provides signals and terminal sizes.
    pub control: mpsc::Receiver<ControlMessage>,
}

/// The number of events that are buffered for a slow reader before the writer waits.
const EVENT_BUFFER: usize = 16;
/// The bytes of input that are buffered for a slow command before the caller waits.
const STDIN_BUFFER: usize = 128 << 10;

impl Process {
    /// Creates a process and its other end. `stdin` is whether it has input. For implementations of
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
        let (event_tx, events) = mpsc::channel(EVENT_BUFFER);
        let (control_tx, control) = mpsc::channel(EVENT_BUFFER);
        let (stdin_read, stdin_write) = match stdin.then(|| tokio::io::duplex(STDIN_BUFFER)) {
            Some((read, write)) => (Some(read), Some(ProcessStdin(write))),
            None => (None, None),
        };
        let process = Self {
            events,
            stdin: stdin_write,
            control: ProcessControl::new(control_tx),
            map_error: None,
            mapping: Mutex::default(),
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

    /// If the process ends with an error, replaces the error by the result of `map`, which may
    /// wait, for example to find out more. A second call replaces the first.
    #[must_use]
    pub fn map_error<F>(mut self, map: impl FnOnce(Error) -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Error> + Send + 'static,
    {
        self.map_error = Some(Box::new(move |error| Box::pin(map(error))));
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

    /// Takes its standard input; `None` if it has none, or if it was taken before.
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

    /// Closes its input unless taken, and collects its output until its end, at most `cap` bytes of
    /// each stream.
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
        match self.map_error.take() {
            Some(map) => Err(map(lost).await),
            None => Err(lost),
        }
    }
}

impl Process {
    fn poll_event(&mut self, cx: &mut Context<'_>) -> Poll<Option<Result<ExecEvent>>> {
        let mapping = self
            .mapping
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner);
        if mapping.is_none() {
            match ready!(self.events.poll_recv(cx)) {
                Some(Err(error)) => match self.map_error.take() {
                    Some(map) => *mapping = Some(map(error)),
                    None => return Poll::Ready(Some(Err(error))),
                },
                event => {
                    if let Some(Ok(ExecEvent::Exited(_))) = event {
                        self.control.note_end();
                    }
                    return Poll::Ready(event);
                }
            }
        }
        let Some(future) = mapping else {
            return Poll::Pending;
        };
        let error = ready!(future.as_mut().poll(cx));
        *mapping = None;
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
    async fn output_beyond_the_cap_is_counted() {
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
        assert_eq!(output.stdout, "0123456789012890123456789");
        assert_eq!(output.stdout_gap(), Some(13));
        assert_eq!(output.stdout_dropped, 10_000 - 25);
        assert!(output.is_truncated());
    }

    #[tokio::test]
    async fn a_signal_after_the_end_was_read_is_refused() {
        let (mut process, driver) = Process::channel(false);
        let control = process.control();
        let exited = ExecEvent::Exited(ExitStatus::Code(0));
        driver.events.send(Ok(exited.clone())).await.unwrap();
        control.signal(crate::Signal::Term).await.unwrap();
        assert_eq!(process.next().await.unwrap().unwrap(), exited);
        let error = control.signal(crate::Signal::Term).await.unwrap_err();
        let ended = CommandCause::AlreadyEnded;
        assert!(
            matches!(&error, Error::Command { cause, .. } if *cause == ended),
            "{error:?}"
        );
        // What ran the command still takes messages.
        drop(driver);
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
    async fn an_error_is_mapped_once_even_if_the_first_wait_for_it_is_cancelled() {
        fn is_shared<T: Send + Sync>(_: &T) {}
        let (process, driver) = Process::channel(false);
        let (report, reported) = tokio::sync::oneshot::channel::<&str>();
        let mut process = process.map_error(move |error| async move {
            Error::Command {
                cause: CommandCause::AlreadyEnded,
                source: Some(format!("{} {error}", reported.await.unwrap()).into()),
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
                message: "inner".into(),
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
            _ = process.next() => panic!("the mapped error is not ready"),
            () = tokio::task::yield_now() => {}
        }
        report.send("outer").unwrap();
        let error = process.next().await.unwrap().unwrap_err();
        assert_eq!(
            std::error::Error::source(&error).unwrap().to_string(),
            "outer inner"
        );
        assert!(process.next().await.is_none());
    }

    #[tokio::test]
    async fn dropping_the_input_ends_it() {
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
