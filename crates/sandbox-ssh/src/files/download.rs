//! One file out of the sandbox, which may be anything.

use std::sync::Arc;

use futures_util::stream::{FuturesOrdered, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::StatusCode;
use sandbox_core::{Direction, DownloadRequest, FileKind, Result, TransferReason, Writer};
use tokio::io::AsyncWriteExt;

use super::failure::{failed_here, fault};
use super::handle::{self, Handle, Target};
use super::hub::Hub;
use super::names::check_path;
use super::ops::kind;
use super::sftp::Sftp;

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
    let file = handle::open(&sftp, Target::File(request.path.clone())).await.map_err(fail)?;
    let before = sftp.call(sftp.raw.fstat(file.id())).await.map_err(fail)?.attrs;
    if kind(&before) == FileKind::Directory {
        return Err(fault(DOWNLOAD, &request.path, TransferReason::Other, "it is a directory"));
    }
    let read = match before.size {
        Some(size) if size > 0 => {
            check_size(&request, size)?;
            whole(&sftp, &file, &request, size, &mut to).await?;
            let after = sftp.call(sftp.raw.fstat(file.id())).await.map_err(fail)?.attrs.size;
            if after.is_some_and(|after| after != size) {
                return Err(changed(&request, size, after.unwrap_or(0)));
            }
            size
        }
        // Files of /proc have no size, yet have content.
        _ => until_end(&sftp, &file, &request, &mut to).await?,
    };
    file.close().await.map_err(fail)?;
    to.flush().await.map_err(|error| failed_here(DOWNLOAD, &request.path, "writing", error))?;
    Ok(read)
}

/// Reads `size` bytes, many requests at once.
async fn whole(
    sftp: &Arc<Sftp>,
    file: &Handle,
    request: &DownloadRequest,
    size: u64,
    to: &mut Writer,
) -> Result<()> {
    let transfer = sftp.transfer();
    let mut reads = FuturesOrdered::new();
    let (mut asked, mut read) = (0, 0);
    while read < size {
        while asked < size && reads.len() < transfer.in_flight(IN_FLIGHT, LEAST) {
            let length = u64::from(sftp.read_len).min(size - asked);
            reads.push_back(range(sftp, file, asked, length));
            asked += length;
        }
        let piece = sftp.call(async { reads.next().await.transpose() }).await;
        let Some((expected, piece)) = piece.map_err(|error| sftp.failed(DOWNLOAD, &request.path, error))?
        else {
            break;
        };
        if piece.len() as u64 != expected {
            return Err(changed(request, size, read + piece.len() as u64));
        }
        to.write_all(&piece).await.map_err(|error| failed_here(DOWNLOAD, &request.path, "writing", error))?;
        read += expected;
    }
    Ok(())
}

/// Reads a range, asking again for what is missing; shorter at the end of the file.
async fn range(sftp: &Sftp, file: &Handle, offset: u64, length: u64) -> Result<(u64, Vec<u8>), SftpError> {
    let mut piece = read(sftp, file, offset, length).await?;
    while (piece.len() as u64) < length {
        let done = piece.len() as u64;
        let more = read(sftp, file, offset + done, length - done).await?;
        if more.is_empty() {
            break;
        }
        piece.extend_from_slice(&more);
    }
    Ok((length, piece))
}

/// Reads up to `length` bytes; none at the end of the file.
async fn read(sftp: &Sftp, file: &Handle, offset: u64, length: u64) -> Result<Vec<u8>, SftpError> {
    let length = u32::try_from(length).unwrap_or(sftp.read_len);
    match sftp.raw.read(file.id(), offset, length).await {
        Ok(data) if data.data.len() <= length as usize => Ok(data.data),
        Ok(_) => Err(SftpError::UnexpectedPacket),
        Err(SftpError::Status(status)) if status.status_code == StatusCode::Eof => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}

/// Reads one piece after the other until there is no more.
async fn until_end(sftp: &Sftp, file: &Handle, request: &DownloadRequest, to: &mut Writer) -> Result<u64> {
    let mut offset = 0;
    loop {
        let piece = sftp
            .call(read(sftp, file, offset, u64::from(sftp.read_len)))
            .await
            .map_err(|error| sftp.failed(DOWNLOAD, &request.path, error))?;
        if piece.is_empty() {
            return Ok(offset);
        }
        check_size(request, offset + piece.len() as u64)?;
        to.write_all(&piece).await.map_err(|error| failed_here(DOWNLOAD, &request.path, "writing", error))?;
        offset += piece.len() as u64;
    }
}

fn check_size(request: &DownloadRequest, size: u64) -> Result<()> {
    match request.max_size {
        Some(max) if size > max => {
            let message = format!("it has {size} bytes or more, and at most {max} are wanted");
            Err(fault(DOWNLOAD, &request.path, TransferReason::TooLarge, message))
        }
        _ => Ok(()),
    }
}

fn changed(request: &DownloadRequest, expected: u64, found: u64) -> sandbox_core::Error {
    let message = format!("it had {expected} bytes and then {found}: it changed while it was read");
    fault(DOWNLOAD, &request.path, TransferReason::SizeChanged, message)
}
