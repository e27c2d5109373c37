//! Appends to a file.

use std::collections::VecDeque;

use futures_util::FutureExt;
use sandbox_core::{Direction, FilePath, Reader, Result};

use super::file_names::check_path;
use crate::sftp::{OpenMode, Piece, RemoteFile, SftpPool, local_error};

const MAX_IN_FLIGHT: usize = 16;
const UPLOAD: Direction = Direction::Upload;

/// Writes all content to the end of a file, which is created if missing.
pub(crate) async fn append(sessions: &SftpPool, path: &FilePath, mut from: Reader) -> Result<u64> {
    check_path(path, UPLOAD)?;
    let sftp = sessions.session().await?;
    let fail = |error| sftp.report_failure(UPLOAD, path, error);
    let file = RemoteFile::open(&sftp, OpenMode::Append(path.clone()))
        .await
        .map_err(fail)?;
    // The offset is for servers that do not support appending; the others ignore it.
    let mut offset = file.size().await.map_err(fail)?.unwrap_or(0);
    let handle = file.handle().to_owned();
    let mut added = 0;
    let mut writes = VecDeque::new();
    loop {
        let piece = Piece::read_from(&mut from, sftp.write_len, None)
            .await
            .map_err(|error| local_error(UPLOAD, path, "reading", error))?;
        if writes.len() >= MAX_IN_FLIGHT || piece.is_empty() {
            // Wait for the oldest write; at the end, for all of them.
            while let Some(write) = writes.pop_front() {
                sftp.call(write).await.map_err(fail)?;
                if !piece.is_empty() {
                    break;
                }
            }
        }
        if piece.is_empty() {
            break;
        }
        let length = piece.len() as u64;
        let mut write = Box::pin(sftp.wire.write(&handle, offset, piece));
        // The first poll sends the request, so that the pieces arrive in order.
        match write.as_mut().now_or_never() {
            Some(written) => drop(written.map_err(fail)?),
            None => writes.push_back(write),
        }
        // The server has reported the first offset, and may have reported any number.
        offset = offset.saturating_add(length);
        added += length;
    }
    file.close().await.map_err(fail)?;
    Ok(added)
}
