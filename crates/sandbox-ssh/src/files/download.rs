//! Reads one file out of the sandbox, which may change meanwhile or be no regular file.
//!
//! A file that grows is read as long as it was when it was opened.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::Either;
use futures_util::stream::{FuturesOrdered, StreamExt};
use sandbox_core::{Direction, DownloadRequest, FileKind, Result, TransferReason, Writer};
use tokio::io::AsyncWriteExt;

use super::file_names::check_path;
use super::stripes::Stripes;
use crate::sftp::{
    OpenMode, Parts, RemoteFile, Sftp, SftpPool, SftpResult, file_kind, local_error, transfer_error,
};

/// Requests in flight of the only transfer.
const MAX_IN_FLIGHT: usize = 16;
/// Requests in flight of one download among many.
const MIN_IN_FLIGHT: usize = 2;
const DOWNLOAD: Direction = Direction::Download;

/// Reads a file into `to`, and flushes it.
pub(crate) async fn download(
    sessions: &SftpPool,
    request: DownloadRequest,
    mut to: Writer,
) -> Result<u64> {
    check_path(&request.path, DOWNLOAD)?;
    let sftp = sessions.session().await?;
    let fail = |error| sftp.report_failure(DOWNLOAD, &request.path, error);
    let file = RemoteFile::open(&sftp, OpenMode::Read(request.path.clone()))
        .await
        .map_err(fail)?;

    // Read the first piece together with the attributes. One byte more than allowed is requested, so
    // that the end of a small file is found with its content.
    let max_len = u64::from(sftp.read_len);
    let start = request.offset;
    let first = request.max_size.map_or(max_len, |max| {
        max.saturating_sub(start).saturating_add(1).min(max_len)
    });
    let both = async {
        tokio::join!(
            sftp.wire.fstat(file.handle()),
            read_once(&sftp, file.handle(), start, first)
        )
    };
    let (before, piece) = sftp.call(async { Ok(both.await) }).await.map_err(fail)?;
    let before = before.map_err(fail)?;
    if file_kind(&before) == FileKind::Directory {
        return Err(transfer_error(
            DOWNLOAD,
            &request.path,
            TransferReason::Other,
            "it is a directory",
        ));
    }
    let mut size = before.size.unwrap_or(0);
    check_size(&request, size)?;
    let piece = piece.map_err(fail)?;
    let got = start + piece.len() as u64;
    if size > 0 && !piece.is_empty() {
        // The file may have grown between the two requests.
        size = size.max(got);
    }
    if size > 0 && piece.is_empty() && start < size || size < start {
        return Err(size_changed_error(
            &request,
            size.max(start),
            if size < start { size } else { got },
        ));
    }
    check_size(&request, got)?;
    write_local(&mut to, piece, &request).await?;

    // Read the rest, in the way that the size requires.
    let end = if size == 0 {
        // Files of /proc have content although their size is zero.
        if got == 0 {
            0
        } else {
            read_to_end(&sftp, &file, &request, got, &mut to).await?
        }
    } else if got == size && got - start < first {
        size
    } else {
        let mode = OpenMode::Read(request.path.clone());
        let stripes = Stripes::new(sessions, Arc::clone(&sftp), file, mode);
        // Boxed, so that the future of a small file is small.
        let file = Box::pin(read_range(stripes, &request, got..size, &mut to)).await?;
        let after = file.size().await.map_err(fail)?;
        if after.is_some_and(|after| after < size) {
            return Err(size_changed_error(&request, size, after.unwrap_or(0)));
        }
        size
    };
    to.flush()
        .await
        .map_err(|error| local_error(DOWNLOAD, &request.path, "writing", error))?;
    Ok(end - start)
}

/// Reads a range, many requests at once.
async fn read_range(
    mut stripes: Stripes<'_>,
    request: &DownloadRequest,
    range: std::ops::Range<u64>,
    to: &mut Writer,
) -> Result<RemoteFile> {
    let mut reads = FuturesOrdered::new();
    let mut requested = range.start;
    let mut read = range.start;
    let size = range.end;
    while read < size {
        stripes.widen(size - requested);
        while requested < size
            && let Some((stripe, sftp, handle)) =
                stripes.begin_request(|sftp| sftp.max_in_flight(MAX_IN_FLIGHT, MIN_IN_FLIGHT))
        {
            let offset = requested;
            let length = u64::from(sftp.read_len).min(size - requested);
            requested += length;
            let mut reading = Box::pin(async move {
                let piece = sftp.call(read_fully(&sftp, &handle, offset, length)).await;
                (stripe, length, piece.map_err(|error| (sftp, error)))
            });
            // The first poll sends the request now, while earlier pieces are still being written.
            match reading.as_mut().now_or_never() {
                Some(done) => reads.push_back(Either::Left(std::future::ready(done))),
                None => reads.push_back(Either::Right(reading)),
            }
        }
        let Some((stripe, expected, piece)) = reads.next().await else {
            return Err(size_changed_error(request, size, read));
        };
        stripes.end_request(stripe);
        let piece =
            piece.map_err(|(sftp, error)| sftp.report_failure(DOWNLOAD, &request.path, error))?;
        if piece.len() as u64 != expected {
            return Err(size_changed_error(request, size, read + piece.len() as u64));
        }
        write_local(to, piece, request).await?;
        read += expected;
    }
    stripes
        .narrow()
        .await
        .map_err(|(sftp, error)| sftp.report_failure(DOWNLOAD, &request.path, error))
}

/// Reads `length` bytes, with further requests if responses are short; fewer at the end of the file.
async fn read_fully(sftp: &Sftp, file: &str, offset: u64, length: u64) -> SftpResult<Parts> {
    let mut piece = read_once(sftp, file, offset, length).await?;
    while (piece.len() as u64) < length {
        let done = piece.len() as u64;
        let more = read_once(sftp, file, offset + done, length - done).await?;
        if more.is_empty() {
            break;
        }
        piece.extend(more);
    }
    Ok(piece)
}

/// Reads up to `length` bytes; none at the end of the file.
async fn read_once(sftp: &Sftp, file: &str, offset: u64, length: u64) -> SftpResult<Parts> {
    sftp.wire
        .read(file, offset, u32::try_from(length).unwrap_or(sftp.read_len))
        .await
}

async fn write_local(to: &mut Writer, piece: Parts, request: &DownloadRequest) -> Result<()> {
    for part in piece {
        to.write_all(&part)
            .await
            .map_err(|error| local_error(DOWNLOAD, &request.path, "writing", error))?;
    }
    Ok(())
}

/// Reads one piece after the other to the end of the file.
async fn read_to_end(
    sftp: &Sftp,
    file: &RemoteFile,
    request: &DownloadRequest,
    start: u64,
    to: &mut Writer,
) -> Result<u64> {
    let mut offset = start;
    loop {
        let piece = sftp
            .call(read_once(
                sftp,
                file.handle(),
                offset,
                u64::from(sftp.read_len),
            ))
            .await
            .map_err(|error| sftp.report_failure(DOWNLOAD, &request.path, error))?;
        if piece.is_empty() {
            return Ok(offset);
        }
        check_size(request, offset + piece.len() as u64)?;
        offset += piece.len() as u64;
        write_local(to, piece, request).await?;
    }
}

fn check_size(request: &DownloadRequest, size: u64) -> Result<()> {
    match request.max_size {
        Some(max) if size > max => {
            let message = format!("it has {size} bytes or more, and at most {max} are allowed");
            Err(transfer_error(
                DOWNLOAD,
                &request.path,
                TransferReason::TooLarge,
                message,
            ))
        }
        _ => Ok(()),
    }
}

fn size_changed_error(request: &DownloadRequest, expected: u64, found: u64) -> sandbox_core::Error {
    let message = format!("it had {expected} bytes and then {found}: it changed while it was read");
    transfer_error(
        DOWNLOAD,
        &request.path,
        TransferReason::SizeChanged,
        message,
    )
}
