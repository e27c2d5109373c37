//! One file out of the sandbox, which may be anything.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Either;
use futures_util::stream::{FuturesOrdered, StreamExt};
use sandbox_core::{Direction, DownloadRequest, FileKind, Result, TransferReason, Writer};
use tokio::io::AsyncWriteExt;

use super::failure::{failed_here, fault};
use super::handle::{self, Handle, Target};
use super::hub::Hub;
use super::names::check_path;
use super::ops::kind;
use super::sftp::{Sftp, SftpResult};
use super::stripes::Stripes;
use super::wire::Parts;

/// Requests in flight.
const IN_FLIGHT: usize = 16;
/// Requests in flight of one download among many.
const LEAST: usize = 2;
const DOWNLOAD: Direction = Direction::Download;

/// Reads a file into `to`, and flushes it.
pub(crate) async fn download(hub: &Hub, request: DownloadRequest, mut to: Writer) -> Result<u64> {
    check_path(&request.path, DOWNLOAD)?;
    let sftp = hub.session().await?;
    let fail = |error| sftp.failed(DOWNLOAD, &request.path, error);
    let file = handle::open(&sftp, Target::File(request.path.clone()))
        .await
        .map_err(fail)?;
    // One more than is wanted, so that the end of a small file is seen with its content.
    let most = u64::from(sftp.read_len);
    let start = request.offset;
    let first = request.max_size.map_or(most, |max| {
        max.saturating_sub(start).saturating_add(1).min(most)
    });
    let asking = async {
        tokio::join!(
            sftp.wire.fstat(file.id()),
            read(&sftp, file.id(), start, first)
        )
    };
    let (before, piece) = sftp.call(async { Ok(asking.await) }).await.map_err(fail)?;
    let before = before.map_err(fail)?;
    if kind(&before) == FileKind::Directory {
        return Err(fault(
            DOWNLOAD,
            &request.path,
            TransferReason::Other,
            "it is a directory",
        ));
    }
    let size = before.size.unwrap_or(0);
    check_size(&request, size)?;
    let piece = piece.map_err(fail)?;
    let got = start + piece.len() as u64;
    if size > 0 && (got > size || piece.is_empty() && start < size) || size < start {
        return Err(changed(
            &request,
            size.max(start),
            if size < start { size } else { got },
        ));
    }
    check_size(&request, got)?;
    write(&mut to, piece, &request).await?;
    let end = if size == 0 {
        // Files of /proc have no size, yet have content.
        if got == 0 {
            0
        } else {
            until_end(&sftp, &file, &request, got, &mut to).await?
        }
    } else if got == size && got - start < first {
        size
    } else {
        let target = Target::File(request.path.clone());
        let stripes = Stripes::new(hub, Arc::clone(&sftp), file, target);
        // Apart, so that what is kept for a small file is small.
        let file = Box::pin(whole(stripes, &request, got..size, &mut to)).await?;
        let after = sftp
            .call(sftp.wire.fstat(file.id()))
            .await
            .map_err(fail)?
            .size;
        if after.is_some_and(|after| after != size) {
            return Err(changed(&request, size, after.unwrap_or(0)));
        }
        size
    };
    to.flush()
        .await
        .map_err(|error| failed_here(DOWNLOAD, &request.path, "writing", error))?;
    Ok(end - start)
}

/// Reads a range, many requests at once.
async fn whole(
    mut stripes: Stripes<'_>,
    request: &DownloadRequest,
    range: std::ops::Range<u64>,
    to: &mut Writer,
) -> Result<Handle> {
    let mut reads = FuturesOrdered::new();
    let (mut asked, mut read, size) = (range.start, range.start, range.end);
    while read < size {
        stripes.widen(size - asked);
        while asked < size
            && let Some((at, sftp, id)) = stripes.free(|sftp| sftp.in_flight(IN_FLIGHT, LEAST))
        {
            let (offset, length) = (asked, u64::from(sftp.read_len).min(size - asked));
            asked += length;
            let mut reading = Box::pin(async move {
                let piece = sftp.call(self::range(&sftp, &id, offset, length)).await;
                (at, length, piece.map_err(|error| (sftp, error)))
            });
            // Sent now: the answer may be a while, and there may be something to write first.
            match reading.as_mut().now_or_never() {
                Some(done) => reads.push_back(Either::Left(std::future::ready(done))),
                None => reads.push_back(Either::Right(reading)),
            }
        }
        let Some((at, expected, piece)) = reads.next().await else {
            return Err(changed(request, size, read));
        };
        stripes.answered(at);
        let piece = piece.map_err(|(sftp, error)| sftp.failed(DOWNLOAD, &request.path, error))?;
        if piece.len() as u64 != expected {
            return Err(changed(request, size, read + piece.len() as u64));
        }
        write(to, piece, request).await?;
        read += expected;
    }
    stripes
        .narrow()
        .await
        .map_err(|(sftp, error)| sftp.failed(DOWNLOAD, &request.path, error))
}

/// Reads a range, asking again for what is missing; shorter at the end of the file.
async fn range(sftp: &Sftp, file: &str, offset: u64, length: u64) -> SftpResult<Parts> {
    let mut piece = read(sftp, file, offset, length).await?;
    while (piece.len() as u64) < length {
        let done = piece.len() as u64;
        let more = read(sftp, file, offset + done, length - done).await?;
        if more.is_empty() {
            break;
        }
        piece.extend(more);
    }
    Ok(piece)
}

/// Reads up to `length` bytes; none at the end of the file.
async fn read(sftp: &Sftp, file: &str, offset: u64, length: u64) -> SftpResult<Parts> {
    sftp.wire
        .read(file, offset, u32::try_from(length).unwrap_or(sftp.read_len))
        .await
}

async fn write(to: &mut Writer, piece: Parts, request: &DownloadRequest) -> Result<()> {
    for part in piece {
        to.write_all(&part)
            .await
            .map_err(|error| failed_here(DOWNLOAD, &request.path, "writing", error))?;
    }
    Ok(())
}

/// Reads one piece after the other until there is no more.
async fn until_end(
    sftp: &Sftp,
    file: &Handle,
    request: &DownloadRequest,
    start: u64,
    to: &mut Writer,
) -> Result<u64> {
    let mut offset = start;
    loop {
        let piece = sftp
            .call(read(sftp, file.id(), offset, u64::from(sftp.read_len)))
            .await
            .map_err(|error| sftp.failed(DOWNLOAD, &request.path, error))?;
        if piece.is_empty() {
            return Ok(offset);
        }
        check_size(request, offset + piece.len() as u64)?;
        offset += piece.len() as u64;
        write(to, piece, request).await?;
    }
}

fn check_size(request: &DownloadRequest, size: u64) -> Result<()> {
    match request.max_size {
        Some(max) if size > max => {
            let message = format!("it has {size} bytes or more, and at most {max} are wanted");
            Err(fault(
                DOWNLOAD,
                &request.path,
                TransferReason::TooLarge,
                message,
            ))
        }
        _ => Ok(()),
    }
}

fn changed(request: &DownloadRequest, expected: u64, found: u64) -> sandbox_core::Error {
    let message = format!("it had {expected} bytes and then {found}: it changed while it was read");
    fault(
        DOWNLOAD,
        &request.path,
        TransferReason::SizeChanged,
        message,
    )
}
