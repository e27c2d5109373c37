//! A channel over which a directory tree is copied.

use std::fmt;
use std::time::Duration;

use crate::ByteStream;

/// A channel over which a directory tree is copied. It carries the frames of
/// [`tree_stream`](crate::tree_stream), and no frame was sent yet.
#[non_exhaustive]
pub struct TreeChannel {
    /// The frames of both directions.
    pub stream: Box<dyn ByteStream>,
    /// How long the server may take until its next frame arrives, if one is due.
    pub timeout: Duration,
}

impl TreeChannel {
    /// Creates a channel over this stream.
    pub fn new(stream: impl ByteStream, timeout: Duration) -> Self {
        Self {
            stream: Box::new(stream),
            timeout,
        }
    }
}

impl fmt::Debug for TreeChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeChannel")
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
