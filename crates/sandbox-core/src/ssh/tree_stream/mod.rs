//! The stream in which a directory tree travels between the SDK's client and sandbox-sshd, over the
//! subsystem [`TREE_SUBSYSTEM`](crate::protocol::TREE_SUBSYSTEM).
//!
//! It consists of frames: a length (`u32`), a kind (`u8`) and the fields of that kind, with numbers
//! in network byte order. The client begins with [`Frame::Receive`] or [`Frame::Send`]. Then the side
//! that has the tree sends its entries, depth first:
//!
//! | frame | meaning |
//! |---|---|
//! | [`Directory`](Frame::Directory) | enter a directory; the first one is the top and has no name |
//! | [`Leave`](Frame::Leave) | the directory is complete; set its attributes |
//! | [`File`](Frame::File), [`Content`](Frame::Content), [`FileEnd`](Frame::FileEnd) | a file of the current directory; a small one is a single frame |
//! | [`FileAborted`](Frame::FileAborted) | the rest of the file cannot be read; discard it |
//! | [`Link`](Frame::Link) | a symbolic link |
//! | [`Skipped`](Frame::Skipped), [`Failed`](Frame::Failed) | an entry that is not in the stream, and why |
//! | [`End`](Frame::End) | nothing follows |
//!
//! A server that receives a tree confirms what it has written, in order, with [`Frame::Taken`],
//! [`Frame::Ignored`] and [`Frame::Refused`], and in the end with [`Frame::Finished`]. A client may
//! have [`MAX_UNCONFIRMED`] bytes on their way. A server that sends a tree counts it first
//! ([`Frame::Counted`]), so that limits hold before anything is written.
//!
//! Both sides treat everything that they receive as untrusted. A frame that violates the protocol
//! ends the stream.

mod attributes;
mod fields;
mod frame;
mod position;

pub use attributes::{Attributes, Failure};
pub use frame::{Frame, MalformedFrame, take_frame};
pub use position::Position;

/// The version of the stream, which the first frame names.
pub const VERSION: u8 = 1;
/// The most bytes of one frame after its length.
pub const MAX_FRAME: usize = 256 << 10;
/// The most bytes of content in one frame.
pub const MAX_CONTENT: usize = 128 << 10;
/// The most bytes of frames that a client sends before they are confirmed: as many as sandbox-sshd
/// keeps in memory.
pub const MAX_UNCONFIRMED: u64 = 4 << 20;
/// The size of a file that is not known before it was read.
pub const UNKNOWN_SIZE: u64 = u64::MAX;

#[cfg(test)]
mod tests;
