//! Downloads a tree as one stream.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use sandbox_core::tree_stream::{Frame, VERSION};
use sandbox_core::{Direction, Error, FilePath, Result, TreeChannel};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::sync::mpsc;

use super::budget::Budget;
use super::local_sink::{LocalSink, Received};
use super::{FrameReader, READ_LEN, Subject, aborted_error};
use crate::transfer::limits::TreeLimits;
use crate::transfer::progress::Meter;
use crate::transfer::report::TreeReport;

/// Parts of the stream that wait to be written.
const PARTS: usize = 8;

/// Downloads a tree over a new channel. Dropping the future ends the download: complete files stay.
pub(in super::super) async fn download(
    channel: TreeChannel,
    limits: TreeLimits,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let subject = Arc::new(Subject {
        direction: Direction::Download,
        remote,
    });
    let (reader, mut writer) = tokio::io::split(channel.stream);
    let mut request = Vec::new();
    let first = Frame::Send {
        version: VERSION,
        entries: limits.entries,
        bytes: limits.bytes,
        depth: limits.depth as u64,
        path: subject.remote.as_bytes(),
    };
    first.encode(&mut request);
    let failed = |error| subject.stream_error(error);
    writer.write_all(&request).await.map_err(failed)?;
    writer.flush().await.map_err(failed)?;

    // The server counts the tree first, so that the limits hold before anything is written.
    let mut frames = FrameReader::new(reader);
    let budget = Budget::new(limits);
    let bytes = wait_until_counted(&mut frames, &budget, &subject, channel.timeout).await?;
    meter.set_total(bytes);

    // Write on a blocking thread what arrives meanwhile.
    let (parts, received) = mpsc::channel(PARTS);
    let sink = LocalSink::new(local, budget, Arc::clone(&subject), Arc::clone(meter));
    let mut writing = tokio::task::spawn_blocking(move || sink.write(received));
    let written = tokio::select! {
        biased;
        written = &mut writing => written,
        // What was received before the end is written first, and may have a better reason for it.
        () = receive(frames, parts, &subject, channel.timeout) => writing.await,
    };
    written.unwrap_or_else(|panic| Err(aborted_error(&subject, panic)))
}

/// Waits until the server has counted the tree. Returns the bytes of all files.
async fn wait_until_counted(
    frames: &mut FrameReader<impl AsyncRead + Unpin>,
    budget: &Budget,
    subject: &Subject,
    timeout: Duration,
) -> Result<u64> {
    let mut before = None;
    loop {
        let frame = match tokio::time::timeout(timeout, frames.next()).await {
            Ok(frame) => frame.map_err(|error| subject.stream_error(error))?,
            Err(_elapsed) => return Err(subject.silence_error(timeout)),
        };
        match Frame::parse(&frame).map_err(|error| subject.malformed_error(error))? {
            Frame::Counted {
                entries,
                bytes,
                is_complete,
            } => {
                budget.check_count(entries, bytes, subject)?;
                if is_complete {
                    return Ok(bytes);
                }
                // A server must not count forever.
                if before.is_some_and(|before| entries <= before) {
                    return Err(subject.violation_error("the count of entries does not grow"));
                }
                before = Some(entries);
            }
            Frame::GivenUp(failure) => {
                return Err(subject.failure_error(&FilePath::default(), &failure));
            }
            _ => return Err(subject.violation_error("a frame is not allowed at its place")),
        }
    }
}

/// Passes on what the server sends, until it ends or nothing is needed any more.
async fn receive(
    frames: FrameReader<impl AsyncRead + Unpin>,
    parts: mpsc::Sender<Received>,
    subject: &Subject,
    timeout: Duration,
) {
    let FrameReader { mut from, received } = frames;
    let mut part = received;
    loop {
        if !part.is_empty() && parts.send(Received::Part(part)).await.is_err() {
            return;
        }
        part = BytesMut::with_capacity(READ_LEN);
        let error: Error = match tokio::time::timeout(timeout, from.read_buf(&mut part)).await {
            Ok(Ok(1..)) => continue,
            Ok(Ok(0)) => subject.stream_error(std::io::ErrorKind::UnexpectedEof.into()),
            Ok(Err(error)) => subject.stream_error(error),
            Err(_elapsed) => subject.silence_error(timeout),
        };
        // The writer may have ended meanwhile.
        parts.send(Received::Ended(error)).await.ok();
        return;
    }
}
