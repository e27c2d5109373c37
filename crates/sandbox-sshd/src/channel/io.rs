//! The parts of a channel that a command, a job or a subsystem uses.

use pty_process::Size;
use sandbox_core::Signal;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::input::InputReader;
use super::output::{ChannelClosed, Output};

/// A request of the client to a running command.
#[derive(Debug)]
pub(crate) enum Control {
    Signal(Signal),
    Resize(Size),
}

/// Input, output and control requests of one channel.
pub(crate) struct ChannelIo {
    pub(crate) input: InputReader,
    pub(crate) output: Output,
    pub(crate) control: mpsc::Receiver<Control>,
}

/// Awaits `sending`, unless the channel is closed first.
pub(crate) async fn send_unless_closed(
    closed: &CancellationToken,
    sending: impl Future<Output = Result<(), ChannelClosed>>,
) -> Result<(), ChannelClosed> {
    tokio::select! {
        sent = sending => sent,
        () = closed.cancelled() => Err(ChannelClosed),
    }
}
