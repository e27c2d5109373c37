//! Signals and terminal sizes for a running command.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::mpsc;

use crate::{CommandCause, Error, PtySize, Result, Signal};

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
    /// What runs the command takes messages for a moment after it has reported the end.
    has_ended: Arc<AtomicBool>,
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

impl ProcessControl {
    pub(super) fn new(messages: mpsc::Sender<ControlMessage>) -> Self {
        Self {
            messages,
            has_ended: Arc::default(),
        }
    }

    /// Notes that the end was read.
    pub(super) fn note_end(&self) {
        self.has_ended.store(true, Ordering::Release);
    }

    /// Sends a signal to the command's process group. Returns once it is sent: SSH has no reply to
    /// a signal (RFC 4254, section 6.9).
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
        let ended = || Error::Command {
            cause: CommandCause::AlreadyEnded,
            source: None,
        };
        if self.has_ended.load(Ordering::Acquire) {
            return Err(ended());
        }
        self.messages.send(message).await.map_err(|_| ended())
    }
}

impl fmt::Debug for ProcessControl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProcessControl").finish_non_exhaustive()
    }
}
