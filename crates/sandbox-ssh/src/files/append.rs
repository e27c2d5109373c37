//! Bytes to the end of a file.

use std::collections::VecDeque;

use futures_util::FutureExt;
use sandbox_core::{Direction, Reader, Result};

use super::failure::failed_here;
use super::handle::{self, Target};
use super::hub::Hub;
use super::names::check_path;
use super::upload::read_piece;

/// Requests in flight.
const IN_FLIGHT: usize = 16;
const UPLOAD: Direction = Direction::Upload;

/// Adds all that comes to the end of a file.
pub(crate) async fn append(hub: &Hub, path: &str, mut from: Reader) -> Result<u64> {
    check_path(path, UPLOAD)?;
    let sftp = hub.session().await?;
    let fail = |error| sftp.failed(UPLOAD, path, error);
    let file = handle::open(&sftp, Target::End(path.to_owned()))
        .await
        .map_err(fail)?;
    // The offset is for servers that know no appending; the others pay no attention to it.
    let mut offset = sftp
        .call(sftp.wire.fstat(file.id()))
        .await
        .map_err(fail)?
        .size
        .unwrap_or(0);
    let (id, mut added) = (file.id().to_owned(), 0);
    let mut writes = VecDeque::new();
    loop {
        let piece = read_piece(&mut from, sftp.write_len, None)
            .await
            .map_err(|error| failed_here(UPLOAD, path, "reading", error))?;
        if writes.len() >= IN_FLIGHT || piece.is_empty() {
            // The oldest; at the end, all of them.
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
        let mut write = Box::pin(sftp.wire.write(&id, offset, piece));
        // Sent now, so that the pieces come in their order.
        match write.as_mut().now_or_never() {
            Some(written) => drop(written.map_err(fail)?),
            None => writes.push_back(write),
        }
        // The server said where it began, and may say anything.
        offset = offset.saturating_add(length);
        added += length;
    }
    file.close().await.map_err(fail)?;
    Ok(added)
}
