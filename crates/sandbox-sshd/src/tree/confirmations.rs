//! What is reported to a client that sends a tree.

use std::io;

use sandbox_core::tree_stream::Frame;
use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::problem::Problem;

/// Bytes after which the client is told that they were received, so that it can continue.
const MAX_PENDING: u64 = 256 << 10;

/// What became of an entry.
#[derive(Debug)]
pub(super) enum Outcome {
    /// It is not complete yet.
    Pending,
    Written,
    /// It is in a directory that was refused, or its sender has aborted it.
    Ignored,
    Refused(Problem),
}

/// Collects what is reported, because each frame alone would cost a packet.
#[derive(Debug, Default)]
pub(super) struct Confirmations {
    frames: Vec<u8>,
    bytes: u64,
    written: u64,
    ignored: u64,
}

impl Confirmations {
    /// Adds what became of an entry.
    pub(super) fn add(&mut self, outcome: &Outcome) {
        match outcome {
            Outcome::Pending => {}
            Outcome::Written => {
                self.encode_ignored();
                self.written += 1;
            }
            Outcome::Ignored => {
                self.encode_written();
                self.ignored += 1;
            }
            Outcome::Refused(problem) => {
                self.encode_written();
                self.encode_ignored();
                Frame::Refused(problem.as_failure()).encode(&mut self.frames);
            }
        }
    }

    /// Adds bytes that were received.
    pub(super) fn add_bytes(&mut self, bytes: usize) {
        self.bytes += bytes as u64;
    }

    /// Whether the client should know now.
    pub(super) fn is_due(&self) -> bool {
        self.bytes >= MAX_PENDING
    }

    /// Sends everything.
    pub(super) async fn send(&mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        self.encode_ignored();
        self.encode_written();
        writer.write_all(&self.frames).await?;
        self.frames.clear();
        writer.flush().await
    }

    /// Sends everything, and that nothing follows.
    pub(super) async fn finish(mut self, writer: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
        self.encode_ignored();
        self.encode_written();
        Frame::Finished.encode(&mut self.frames);
        self.send(writer).await
    }

    fn encode_written(&mut self) {
        let (bytes, entries) = (
            std::mem::take(&mut self.bytes),
            std::mem::take(&mut self.written),
        );
        if bytes > 0 || entries > 0 {
            Frame::Taken { bytes, entries }.encode(&mut self.frames);
        }
    }

    fn encode_ignored(&mut self) {
        let entries = std::mem::take(&mut self.ignored);
        if entries > 0 {
            Frame::Ignored { entries }.encode(&mut self.frames);
        }
    }
}
