//! The guest protocol: operations of sandbox-sshd for which plain SSH and SFTP have no request.
//!
//! Each operation has a channel of its own, with the subsystem
//! [`GUEST_SUBSYSTEM`](crate::protocol::GUEST_SUBSYSTEM), so operations neither wait for each other nor share
//! a window, and closing the channel cancels one. The client sends one [`GuestRequest`] as a frame. The
//! server answers with frames until the operation ends, and closes the channel then. An operation ends with
//! the frame that its documentation names as the last, or with a [`Refusal`].
//!
//! A frame is a length in four bytes, most significant first, that counts what follows it: a byte with the
//! [kind](FrameKind), and the payload. Messages are JSON, content is not encoded. Neither side accepts a frame
//! with more than [`MAX_PAYLOAD`] bytes of payload, and neither fails on an unknown field of a message.
//!
//! Content that the server sends (kinds [`Content`](FrameKind::Content), [`Stderr`](FrameKind::Stderr) and
//! [`Terminal`](FrameKind::Terminal)) counts against a window of [`WINDOW`] bytes of payload for each channel. The client
//! says with [`Taken`](FrameKind::Taken) what it has taken, so a client that does not read holds back its own operation and
//! no other of the same connection.
//!
//! Names of files, arguments and variables are bytes; in JSON they are [`FilePath`](crate::FilePath)s.

mod files;
mod frame;
mod processes;
mod refusal;
mod sandbox;

use serde::{Deserialize, Serialize};

pub use files::{
    EntryKind, FileEntry, FileEvent, FileEventKind, FileRequest, LinkTarget, MAX_COMPOSED, Usage,
    WatchOptions, Written,
};
pub(crate) use frame::FrameHead;
pub use frame::{Frame, FrameKind, MAX_PAYLOAD, MalformedFrame, WINDOW, put_frame, take_frame};
pub use processes::{
    InputTarget, ProcessEnd, ProcessRequest, ProcessSelector, ProcessSpec, ProcessStarted,
    SharedProcess, TerminalSize,
};
pub use refusal::{Refusal, RefusalCode};
pub use sandbox::{OnExpiry, PauseState, SandboxRequest, StoppedBy};

/// What a client asks of the server: the first frame of a channel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum GuestRequest {
    /// Something about shared processes.
    Process(ProcessRequest),
    /// Something about files.
    File(FileRequest),
    /// Something about the sandbox as a whole.
    Sandbox(SandboxRequest),
}

/// The last frame of an operation that returns nothing else.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Done {}
