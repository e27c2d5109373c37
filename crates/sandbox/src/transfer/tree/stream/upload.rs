//! Uploads a tree as one stream.

use std::sync::Arc;

use sandbox_core::tree_stream::{Frame, VERSION};
use sandbox_core::{Result, TreeChannel};
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};

use super::local_source::{Batch, LocalSource, LocalTop, Stop};
use super::replies::{Replies, Unconfirmed};
use super::{FrameReader, Subject, aborted_error};
use crate::transfer::failures::Failures;
use crate::transfer::progress::Meter;
use crate::transfer::report::{Skipped, TreeReport};

/// Batches that are read ahead.
const BATCHES: usize = 2;

type Reading = JoinHandle<std::result::Result<Vec<Skipped>, Stop>>;

/// Uploads a tree over a new channel. Dropping the future ends the upload: what was confirmed stays,
/// and so do up to 4 MiB that the server has received by then.
pub(in super::super) async fn upload(
    channel: TreeChannel,
    top: LocalTop,
    subject: &Subject,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let failures = Arc::new(Failures::default());
    let (batches, received) = mpsc::channel(BATCHES);
    let source = LocalSource::new(batches, Arc::clone(&failures), Arc::clone(meter));
    let reading = spawn_blocking(move || source.read(top));

    let (reader, writer) = tokio::io::split(channel.stream);
    let unconfirmed = Unconfirmed::new();
    let replies = Replies {
        subject,
        unconfirmed: &unconfirmed,
        failures: &failures,
        meter,
        report: TreeReport::default(),
    };
    let (skipped, mut report) = tokio::try_join!(
        send(writer, received, reading, &unconfirmed, subject),
        replies.receive(FrameReader::new(reader), channel.timeout),
    )?;
    report.skipped = skipped;
    failures.move_to(&mut report);
    Ok(report)
}

/// Sends the batches. Returns what was skipped.
async fn send(
    mut writer: impl AsyncWrite + Unpin,
    mut batches: mpsc::Receiver<Batch>,
    reading: Reading,
    unconfirmed: &Unconfirmed,
    subject: &Subject,
) -> Result<Vec<Skipped>> {
    let mut request = Batch::default();
    let first = Frame::Receive {
        version: VERSION,
        path: subject.remote.as_bytes(),
    };
    first.encode(&mut request.frames);
    // The server does not confirm the request.
    let mut sent = writer.write_all(&request.frames).await;
    while sent.is_ok()
        && let Some(batch) = batches.recv().await
    {
        let frames = unconfirmed.admit(batch).await;
        sent = writer.write_all(&frames).await;
        if batches.is_empty() && sent.is_ok() {
            sent = writer.flush().await;
        }
    }
    if sent.is_err() {
        // The replies have the reason, if the server has given one.
        std::future::pending::<()>().await;
    }
    match reading.await {
        Ok(Ok(skipped)) => Ok(skipped),
        Ok(Err(Stop::Failed(error))) => Err(error),
        Ok(Err(Stop::Unneeded)) => Err(subject.violation_error("it was not read")),
        Err(panic) => Err(aborted_error(subject, panic)),
    }
}
