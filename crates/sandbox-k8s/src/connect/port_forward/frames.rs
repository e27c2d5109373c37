//! What the protocols of a port-forward have in common.

use std::future::Future;
use std::io;

use bytes::{Bytes, BytesMut};

/// What came from the Pod.
pub(super) enum Incoming {
    Data(Bytes),
    /// Something that is of no interest here.
    Nothing,
    /// The other side has closed the stream properly.
    Closed,
    /// The connection was cut, or the Pod rejected it.
    End(String),
}

/// Receives what the Pod sends.
pub(super) trait Receiver: Send {
    /// Waits for the next frame. After `Closed` and `End` there is none.
    fn next(&mut self) -> impl Future<Output = Incoming> + Send;
}

/// Sends data to the Pod.
pub(super) trait Sender: Send {
    /// How many bytes at the start of a frame are the protocol's.
    const HEADER: usize;

    /// Sends a frame. Its data starts after [`HEADER`](Self::HEADER) bytes, which this overwrites.
    fn send(&mut self, frame: BytesMut) -> impl Future<Output = io::Result<()>> + Send;

    /// Waits until the other side wants an answer, and returns it. Dropping the future loses nothing.
    fn next_answer(&mut self) -> impl Future<Output = Bytes> + Send;

    /// Sends such an answer.
    fn answer(&mut self, answer: Bytes) -> impl Future<Output = io::Result<()>> + Send;

    /// Tells the Pod that nothing more comes.
    fn close(&mut self) -> impl Future<Output = io::Result<()>> + Send;
}
