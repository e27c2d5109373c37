//! The frames of the stream, and their encoding.

use bytes::{Buf, Bytes, BytesMut};

use super::attributes::{Attributes, Failure};
use super::fields::{Fields, put_bytes};
use super::{MAX_CONTENT, MAX_FRAME};

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_enums,
    reason = "both ends have the same version of the stream"
)]
pub enum Frame<'a> {
    /// The first frame of a client that sends a tree: receive it at this path.
    Receive {
        /// See [`VERSION`](super::VERSION).
        version: u8,
        /// The top directory: absolute, or relative to the home directory.
        path: &'a [u8],
    },
    /// The first frame of a client that receives a tree: send the one at this path, unless it
    /// exceeds the limits.
    Send {
        /// See [`VERSION`](super::VERSION).
        version: u8,
        /// The most entries below the top.
        entries: u64,
        /// The most bytes of all files together.
        bytes: u64,
        /// How deep directories may be nested below the top.
        depth: u64,
        /// The top directory: absolute, or relative to the home directory.
        path: &'a [u8],
    },
    /// Enter a directory of the current one. The name of the top is empty.
    Directory {
        /// Its name.
        name: &'a [u8],
        /// What it gets when it is complete.
        attributes: Attributes,
    },
    /// The current directory is complete.
    Leave,
    /// A file of the current directory.
    File {
        /// Its name.
        name: &'a [u8],
        /// What it gets when it is complete.
        attributes: Attributes,
        /// Its size, or [`UNKNOWN_SIZE`](super::UNKNOWN_SIZE). It has no more content than that.
        size: u64,
        /// Whether this is all of its content. Otherwise more frames follow.
        is_whole: bool,
        /// The beginning of its content.
        content: &'a [u8],
    },
    /// More content of the current file.
    Content(&'a [u8]),
    /// The current file is complete.
    FileEnd,
    /// The rest of the current file cannot be read.
    FileAborted(Failure<'a>),
    /// A symbolic link in the current directory.
    Link {
        /// Its name.
        name: &'a [u8],
        /// Where it leads.
        target: &'a [u8],
    },
    /// An entry that is no file, directory or link.
    Skipped {
        /// Its name.
        name: &'a [u8],
    },
    /// An entry that cannot be read.
    Failed {
        /// Its name; empty for the current directory itself.
        name: &'a [u8],
        /// Why.
        failure: Failure<'a>,
    },
    /// The tree is complete.
    End,
    /// So much was counted before anything is sent.
    Counted {
        /// Entries below the top so far.
        entries: u64,
        /// Bytes of their files.
        bytes: u64,
        /// Whether that is all.
        is_complete: bool,
    },
    /// So much was received since the last such frame, and these entries were written.
    Taken {
        /// Bytes of frames with their lengths.
        bytes: u64,
        /// Entries: directories, their ends, files and links, each once it is complete.
        entries: u64,
    },
    /// These entries are in a directory that was refused, and so were not written.
    Ignored {
        /// How many.
        entries: u64,
    },
    /// The next entry could not be written.
    Refused(Failure<'a>),
    /// Everything was received.
    Finished,
    /// The sender of this frame gives up: nothing follows.
    GivenUp(Failure<'a>),
}

/// A frame that violates the protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("invalid stream of a tree: {0}")]
pub struct MalformedFrame(pub(super) &'static str);

impl From<MalformedFrame> for std::io::Error {
    fn from(error: MalformedFrame) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

/// Removes and returns the first frame, without its length, if all of it has arrived.
///
/// # Errors
///
/// If it is longer than [`MAX_FRAME`](super::MAX_FRAME).
pub fn take_frame(received: &mut BytesMut) -> Result<Option<Bytes>, MalformedFrame> {
    let Some((length, rest)) = received.split_first_chunk::<4>() else {
        return Ok(None);
    };
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    if length > MAX_FRAME {
        return Err(MalformedFrame("a frame is too long"));
    }
    if rest.len() < length {
        return Ok(None);
    }
    received.advance(4);
    Ok(Some(received.split_to(length).freeze()))
}

impl<'a> Frame<'a> {
    /// Parses a frame without its length.
    ///
    /// # Errors
    ///
    /// If it is no valid frame, such as one with the name `..`.
    pub fn parse(frame: &'a [u8]) -> Result<Self, MalformedFrame> {
        let mut fields = Fields(frame);
        let kind = fields.take_u8()?;
        let parsed = match kind {
            1 => Self::Receive {
                version: fields.take_u8()?,
                path: fields.take_path()?,
            },
            2 => Self::Send {
                version: fields.take_u8()?,
                entries: fields.take_u64()?,
                bytes: fields.take_u64()?,
                depth: fields.take_u64()?,
                path: fields.take_path()?,
            },
            3 => Self::Directory {
                name: fields.take_optional_name()?,
                attributes: Attributes::take(&mut fields)?,
            },
            4 => Self::Leave,
            5 => Self::File {
                name: fields.take_name()?,
                attributes: Attributes::take(&mut fields)?,
                size: fields.take_u64()?,
                is_whole: fields.take_flag()?,
                content: fields.take_rest(),
            },
            6 if fields.0.is_empty() => return Err(MalformedFrame("content is empty")),
            6 => Self::Content(fields.take_rest()),
            7 => Self::FileEnd,
            8 => Self::FileAborted(Failure::take(&mut fields)?),
            9 => Self::Link {
                name: fields.take_name()?,
                target: fields.take_path()?,
            },
            10 => Self::Skipped {
                name: fields.take_name()?,
            },
            11 => Self::Failed {
                name: fields.take_optional_name()?,
                failure: Failure::take(&mut fields)?,
            },
            12 => Self::End,
            13 => Self::Counted {
                entries: fields.take_u64()?,
                bytes: fields.take_u64()?,
                is_complete: fields.take_flag()?,
            },
            14 => Self::Taken {
                bytes: fields.take_u64()?,
                entries: fields.take_u64()?,
            },
            15 => Self::Ignored {
                entries: fields.take_u64()?,
            },
            16 => Self::Refused(Failure::take(&mut fields)?),
            17 => Self::Finished,
            18 => Self::GivenUp(Failure::take(&mut fields)?),
            _ => return Err(MalformedFrame("a frame is of an unknown kind")),
        };
        if fields.0.is_empty() {
            Ok(parsed)
        } else {
            Err(MalformedFrame("a frame is longer than its fields"))
        }
    }

    /// Appends the frame with its length. Returns how many bytes these are.
    ///
    /// Content must be at most [`MAX_CONTENT`](super::MAX_CONTENT) bytes.
    pub fn encode(&self, to: &mut Vec<u8>) -> usize {
        let start = to.len();
        to.extend([0; 4]);
        self.put_fields(to);
        let length = to.len() - start - 4;
        debug_assert!(length <= MAX_FRAME);
        let prefix = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
        to[start..start + 4].copy_from_slice(&prefix);
        length + 4
    }

    fn put_fields(&self, to: &mut Vec<u8>) {
        match self {
            Self::Receive { version, path } => {
                to.extend([1, *version]);
                put_bytes(to, path);
            }
            Self::Send {
                version,
                entries,
                bytes,
                depth,
                path,
            } => {
                to.extend([2, *version]);
                for number in [entries, bytes, depth] {
                    to.extend(number.to_be_bytes());
                }
                put_bytes(to, path);
            }
            Self::Directory { name, attributes } => {
                to.push(3);
                put_bytes(to, name);
                attributes.put(to);
            }
            Self::Leave => to.push(4),
            Self::File {
                name,
                attributes,
                size,
                is_whole,
                content,
            } => {
                to.push(5);
                put_bytes(to, name);
                attributes.put(to);
                to.extend(size.to_be_bytes());
                to.push(u8::from(*is_whole));
                to.extend(*content);
            }
            Self::Content(content) => {
                debug_assert!(content.len() <= MAX_CONTENT);
                to.push(6);
                to.extend(*content);
            }
            Self::FileEnd => to.push(7),
            Self::FileAborted(failure) => failure.put(8, to),
            Self::Link { name, target } => {
                to.push(9);
                put_bytes(to, name);
                put_bytes(to, target);
            }
            Self::Skipped { name } => {
                to.push(10);
                put_bytes(to, name);
            }
            Self::Failed { name, failure } => {
                to.push(11);
                put_bytes(to, name);
                failure.put_fields(to);
            }
            Self::End => to.push(12),
            Self::Counted {
                entries,
                bytes,
                is_complete,
            } => {
                to.push(13);
                to.extend(entries.to_be_bytes());
                to.extend(bytes.to_be_bytes());
                to.push(u8::from(*is_complete));
            }
            Self::Taken { bytes, entries } => {
                to.push(14);
                to.extend(bytes.to_be_bytes());
                to.extend(entries.to_be_bytes());
            }
            Self::Ignored { entries } => {
                to.push(15);
                to.extend(entries.to_be_bytes());
            }
            Self::Refused(failure) => failure.put(16, to),
            Self::Finished => to.push(17),
            Self::GivenUp(failure) => failure.put(18, to),
        }
    }
}
