//! The faults of a stream, and when they happen.

/// A direction, as the holder of the stream sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the peer.
    Read,
    /// To the peer.
    Write,
}

/// A fault of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamFault {
    /// The whole stream is reset, and the peer finds it closed.
    Reset,
    /// Reading: end of file, while writing still works. Writing: as [`Reset`](Self::Reset).
    Eof,
    /// Reads and writes wait until the fault is cleared.
    Stall,
    /// Writes succeed and their data is discarded, as when the peer's host loses power. Reading: as
    /// [`Stall`](Self::Stall).
    Discard,
}

/// The faults that a stream will have.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FaultPlan {
    pub(super) read: Option<(u64, StreamFault)>,
    pub(super) write: Option<(u64, StreamFault)>,
    /// The state of the generator that decides how many bytes pass at a time.
    pub(super) short_transfers: Option<u64>,
}

impl FaultPlan {
    /// Creates a plan without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a fault that happens after exactly this many bytes in this direction.
    #[must_use]
    pub fn fail_after(mut self, bytes: u64, direction: Direction, fault: StreamFault) -> Self {
        match direction {
            Direction::Read => self.read = Some((bytes, fault)),
            Direction::Write => self.write = Some((bytes, fault)),
        }
        self
    }

    /// Lets each read and write transfer only a few bytes. The seed determines how many.
    #[must_use]
    pub fn with_short_transfers(mut self, seed: u64) -> Self {
        self.short_transfers = Some(seed | 1);
        self
    }
}
