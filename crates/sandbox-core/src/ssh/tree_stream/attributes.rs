//! What frames say about an entry, and about a failure.

use std::time::SystemTime;

use super::fields::{Fields, put_bytes, put_time};
use super::frame::MalformedFrame;
use crate::{Direction, TransferReason};

/// The most bytes of a message.
const MAX_MESSAGE: usize = 1000;

/// The attributes of a file or a directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(
    clippy::exhaustive_structs,
    reason = "both ends have the same version of the stream"
)]
pub struct Attributes {
    /// The permission bits, if the system of the sender has them.
    pub mode: Option<u32>,
    /// The time of the last modification.
    pub modified: Option<SystemTime>,
}

/// Why something failed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(
    clippy::exhaustive_structs,
    reason = "both ends have the same version of the stream"
)]
pub struct Failure<'a> {
    /// What failed: the transfer, or the access inside the sandbox.
    pub direction: Direction,
    /// The kind of failure.
    pub reason: TransferReason,
    /// The problem. It is untrusted, and need not be UTF-8.
    pub message: &'a [u8],
}

impl Attributes {
    pub(super) fn take(fields: &mut Fields<'_>) -> Result<Self, MalformedFrame> {
        let has_mode = fields.take_flag()?;
        let mode = fields.take_u32()?;
        Ok(Self {
            mode: has_mode.then_some(mode & 0o7777),
            modified: fields.take_time()?,
        })
    }

    pub(super) fn put(self, to: &mut Vec<u8>) {
        to.push(u8::from(self.mode.is_some()));
        to.extend(self.mode.unwrap_or(0).to_be_bytes());
        put_time(to, self.modified);
    }
}

/// The reasons, each at the position that is its number in a frame.
const REASONS: [TransferReason; 9] = [
    TransferReason::Other,
    TransferReason::NotFound,
    TransferReason::PermissionDenied,
    TransferReason::AlreadyExists,
    TransferReason::NoSpace,
    TransferReason::BadName,
    TransferReason::SizeChanged,
    TransferReason::TooLarge,
    TransferReason::Lost,
];
const DIRECTIONS: [Direction; 3] = [Direction::Inside, Direction::Upload, Direction::Download];

impl<'a> Failure<'a> {
    pub(super) fn take(fields: &mut Fields<'a>) -> Result<Self, MalformedFrame> {
        let unknown = MalformedFrame("a failure is of an unknown kind");
        let direction = DIRECTIONS.get(usize::from(fields.take_u8()?));
        let reason = REASONS.get(usize::from(fields.take_u8()?));
        Ok(Self {
            direction: *direction.ok_or(unknown)?,
            reason: *reason.ok_or(unknown)?,
            message: fields.take_bytes()?,
        })
    }

    pub(super) fn put(&self, kind: u8, to: &mut Vec<u8>) {
        to.push(kind);
        self.put_fields(to);
    }

    pub(super) fn put_fields(&self, to: &mut Vec<u8>) {
        to.push(number_of(&DIRECTIONS, &self.direction));
        to.push(number_of(&REASONS, &self.reason));
        put_bytes(to, &self.message[..self.message.len().min(MAX_MESSAGE)]);
    }
}

fn number_of<T: PartialEq>(all: &[T], one: &T) -> u8 {
    let position = all.iter().position(|other| other == one);
    position.and_then(|at| u8::try_from(at).ok()).unwrap_or(0)
}
