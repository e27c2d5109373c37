//! What a server reports of a tree that it receives.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use sandbox_core::tree_stream::{Failure, Frame, MAX_UNCONFIRMED};
use sandbox_core::{Error, Result};
use tokio::io::AsyncRead;
use tokio::sync::Semaphore;
use tokio::time::Instant;

use super::local_source::{Batch, Sent, SentKind};
use super::{FrameReader, Subject};
use crate::sync::lock;
use crate::transfer::failures::Failures;
use crate::transfer::progress::Meter;
use crate::transfer::report::TreeReport;

/// What was sent and is not confirmed.
pub(super) struct Unconfirmed {
    /// A permit for each byte that may be sent.
    room: Semaphore,
    sent: Mutex<SentEntries>,
}

struct SentEntries {
    entries: VecDeque<Sent>,
    bytes: u64,
    /// Since when an answer is due; `None` while nothing is on its way.
    due_since: Option<Instant>,
}

impl Unconfirmed {
    pub(super) fn new() -> Self {
        Self {
            room: Semaphore::new(usize::try_from(MAX_UNCONFIRMED).unwrap_or(0)),
            sent: Mutex::new(SentEntries {
                entries: VecDeque::new(),
                bytes: 0,
                due_since: None,
            }),
        }
    }

    /// Waits until a batch may be sent. Returns its frames.
    pub(super) async fn admit(&self, batch: Batch) -> Vec<u8> {
        let length = u32::try_from(batch.frames.len()).unwrap_or(u32::MAX);
        // It is never closed.
        if let Ok(permits) = self.room.acquire_many(length).await {
            permits.forget();
        }
        let mut sent = lock(&self.sent);
        sent.entries.extend(batch.entries);
        sent.bytes += u64::from(length);
        sent.due_since.get_or_insert_with(Instant::now);
        batch.frames
    }

    /// How long an answer is due.
    fn silence(&self) -> Duration {
        lock(&self.sent)
            .due_since
            .map_or(Duration::ZERO, |since| since.elapsed())
    }

    /// Confirms bytes. Returns whether so many were on their way.
    fn confirm_bytes(&self, bytes: u64) -> bool {
        let mut sent = lock(&self.sent);
        let Some(left) = sent.bytes.checked_sub(bytes) else {
            return false;
        };
        sent.bytes = left;
        sent.due_since = (left > 0).then(Instant::now);
        drop(sent);
        // It is at most the number of all permits.
        self.room.add_permits(usize::try_from(bytes).unwrap_or(0));
        true
    }

    /// Removes the oldest entry.
    fn next(&self) -> Option<Sent> {
        let mut sent = lock(&self.sent);
        sent.due_since = (sent.bytes > 0).then(Instant::now);
        sent.entries.pop_front()
    }
}

/// Collects what became of the entries.
pub(super) struct Replies<'a> {
    pub(super) subject: &'a Subject,
    pub(super) unconfirmed: &'a Unconfirmed,
    pub(super) failures: &'a Arc<Failures>,
    pub(super) meter: &'a Arc<Meter>,
    pub(super) report: TreeReport,
}

impl Replies<'_> {
    /// Receives replies until the server has finished. It may send nothing for as long as `timeout`
    /// while an answer is due.
    ///
    /// # Errors
    ///
    /// If the top directory cannot be written to, at a failure that ends the whole copy, and if the
    /// server violates the protocol.
    pub(super) async fn receive(
        mut self,
        mut frames: FrameReader<impl AsyncRead + Unpin>,
        timeout: Duration,
    ) -> Result<TreeReport> {
        loop {
            let frame = loop {
                match tokio::time::timeout(timeout, frames.next()).await {
                    Ok(frame) => break frame.map_err(|error| self.subject.stream_error(error))?,
                    Err(_elapsed) if self.unconfirmed.silence() >= timeout => {
                        return Err(self.subject.silence_error(timeout));
                    }
                    Err(_elapsed) => {}
                }
            };
            let frame =
                Frame::parse(&frame).map_err(|error| self.subject.malformed_error(error))?;
            match frame {
                Frame::Taken { bytes, entries } => {
                    if !self.unconfirmed.confirm_bytes(bytes) {
                        return Err(self.violation_error("more is confirmed than was sent"));
                    }
                    for _ in 0..entries {
                        let sent = self.next_sent()?;
                        self.add_written(sent);
                    }
                }
                Frame::Ignored { entries } => {
                    for _ in 0..entries {
                        self.next_sent()?;
                    }
                }
                Frame::Refused(failure) => {
                    let sent = self.next_sent()?;
                    self.add_failed(sent, &failure)?;
                }
                Frame::Finished => {
                    if self.unconfirmed.next().is_some() {
                        return Err(self.violation_error("it ends before all is confirmed"));
                    }
                    return Ok(self.report);
                }
                Frame::GivenUp(failure) => {
                    let name = sandbox_core::FilePath::default();
                    return Err(self.subject.failure_error(&name, &failure));
                }
                _ => return Err(self.violation_error("a frame is not allowed at its place")),
            }
        }
    }

    fn next_sent(&self) -> Result<Sent> {
        let none = || self.violation_error("more is confirmed than was sent");
        self.unconfirmed.next().ok_or_else(none)
    }

    fn add_written(&mut self, sent: Sent) {
        match sent.kind {
            SentKind::Directory => self.report.directories += 1,
            SentKind::Leave => {}
            SentKind::File { size, measured } => {
                self.report.files += 1;
                self.report.bytes += size;
                self.meter.add_file();
                measured.finish_transfer(&Ok(size));
            }
            SentKind::Link => self.report.symlinks += 1,
        }
    }

    fn add_failed(&self, sent: Sent, failure: &Failure<'_>) -> Result<()> {
        let error = self.subject.failure_error(&sent.name, failure);
        let is_top = sent.name.is_empty() && matches!(sent.kind, SentKind::Directory);
        let error = match sent.kind {
            SentKind::File { measured, .. } => {
                let failed = Err(error);
                measured.finish_transfer(&failed);
                match failed {
                    Err(error) => error,
                    Ok(_) => return Ok(()),
                }
            }
            SentKind::Directory | SentKind::Leave | SentKind::Link => error,
        };
        if is_top {
            return Err(error);
        }
        self.failures.record(&sent.name, error)
    }

    fn violation_error(&self, what: &str) -> Error {
        self.subject.violation_error(what)
    }
}
