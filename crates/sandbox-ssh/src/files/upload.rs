//! Writes one file into the sandbox.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::{
    Direction, Error, FilePath, Reader, Result, TargetPolicy, TransferReason, UploadRequest,
};
use tokio::io::AsyncReadExt;

use super::file_names::check_path;
use super::stripes::Stripes;
use super::target::{Kept, Target, find_target, follow_links};
use super::temporary::TemporaryFile;
use crate::sftp::{
    Finished, OpenMode, Piece, RemoteFile, Sftp, SftpPool, local_error, no_space_error,
    sftp_seconds, transfer_error,
};

/// Bytes in flight: a little more than one window of OpenSSH.
const BYTES_IN_FLIGHT: usize = 9 << 18;
/// Bytes of one request of a resumable upload: with its head, one SSH packet. The received part of an
/// incomplete request is lost.
const RESUMABLE_LEN: usize = (32 << 10) - 64;
/// The most requests in flight, however short the server wants them.
const MAX_IN_FLIGHT: usize = 72;
/// Bytes in flight of one upload among many.
const MIN_BYTES_IN_FLIGHT: usize = 256 << 10;
const UPLOAD: Direction = Direction::Upload;

/// What became of an upload.
pub(crate) enum Uploaded {
    /// The file has this many bytes.
    Stored(u64),
    /// There is a device or a FIFO, and nothing is written yet. The content is unchanged.
    Special { path: FilePath, from: Reader },
}

/// Writes a file under a temporary name beside its own, and renames it once it is complete. A
/// resumable upload uses the partial file, which remains if the upload fails.
pub(crate) async fn upload(
    sessions: &SftpPool,
    mut request: UploadRequest,
    mut from: Reader,
) -> Result<Uploaded> {
    check_path(&request.path, UPLOAD)?;
    let sftp = sessions.session().await?;
    let max_len = if request.resume_at.is_some() {
        RESUMABLE_LEN.min(sftp.write_len)
    } else {
        sftp.write_len
    };
    let mut read = None;
    loop {
        // Create the file and look at its target. Meanwhile read the first piece.
        let temporary = TemporaryFile::new(sessions, &sftp, &request)?;
        let reading = async {
            match read.take() {
                Some(piece) => Ok(piece),
                None => Piece::read_from(&mut from, max_len, request.size).await,
            }
        };
        let (target, file, first) = tokio::join!(
            find_target(&sftp, &request),
            RemoteFile::open(&sftp, temporary.open_mode(&request)),
            reading,
        );
        let first = first.map_err(|error| local_error(UPLOAD, &request.path, "reading", error))?;
        let kept = match target? {
            Target::Replaced(kept) => kept,
            Target::Link => {
                if let Some(path) = follow_links(&sftp, &request.path).await? {
                    request.path = path;
                    request.target = TargetPolicy::Replace;
                    read = Some(first);
                    continue;
                }
                return Ok(Uploaded::special(request.path, first, from));
            }
            Target::Special => return Ok(Uploaded::special(request.path, first, from)),
        };
        let fail = |error| sftp.report_failure(UPLOAD, &request.path, error);

        // Write the file, and rename it.
        let writing = write_file(
            sessions,
            &sftp,
            &temporary.path,
            file.map_err(fail)?,
            &request,
            kept,
            Source {
                first,
                from,
                max_len,
            },
        );
        let written = writing.await?;
        sftp.replace(&temporary.path, &request.path)
            .await
            .map_err(fail)?;
        temporary.keep();
        return Ok(Uploaded::Stored(written));
    }
}

impl Uploaded {
    fn special(path: FilePath, first: Piece, from: Reader) -> Self {
        let first = std::io::Cursor::new(first.into_content());
        Self::Special {
            path,
            from: Box::new(first.chain(from)),
        }
    }
}

/// The content of an upload: its first piece, and the rest.
struct Source {
    first: Piece,
    from: Reader,
    /// The most bytes of a piece.
    max_len: usize,
}

/// Writes and closes the temporary file. Returns the size of the whole file.
async fn write_file(
    sessions: &SftpPool,
    sftp: &Arc<Sftp>,
    temporary: &FilePath,
    file: RemoteFile,
    request: &UploadRequest,
    kept: Kept,
    source: Source,
) -> Result<u64> {
    let fail = |error| sftp.report_failure(UPLOAD, &request.path, error);
    let Source {
        first,
        from,
        max_len,
    } = source;
    let start = request.resume_at.unwrap_or(0);
    if start > 0 {
        // Data beyond the verified part of the partial file is discarded.
        file.truncate(start).await.map_err(fail)?;
    }

    // A small file: its first piece is the whole content, and no request depends on the response
    // to another.
    if first.len() < max_len {
        let written = start + first.len() as u64;
        check_announced_size(request, written)?;
        let attributes = final_attributes(request, kept);
        let finished = file
            .finish(Some((start, first)), kept.owner, attributes)
            .await;
        return match finished {
            Ok(finished) => {
                keep_group(sftp, temporary, kept, &finished).await;
                check_stored_size(request, written, finished.size)
            }
            Err(error) => Err(report_write_failure(sftp, temporary, request, error).await),
        };
    }

    // A large file. Boxed, so that the future of a small file is small.
    let write = OpenMode::Write(temporary.clone());
    let stripes = Stripes::new(sessions, Arc::clone(sftp), file, write);
    let (written, file) = match Box::pin(copy(stripes, first, from, request)).await {
        Ok(copied) => copied,
        Err(CopyError::Local(error)) => return Err(error),
        Err(CopyError::Server(sftp, error)) => {
            return Err(report_write_failure(&sftp, temporary, request, error).await);
        }
    };
    check_announced_size(request, written)?;
    let finished = file
        .finish(None, kept.owner, final_attributes(request, kept))
        .await
        .map_err(fail)?;
    keep_group(sftp, temporary, kept, &finished).await;
    check_stored_size(request, written, finished.size)
}

/// Sets the group of the file that is replaced, if the server refused to set its owner: only root
/// may give files away, but a user may be in several groups. That may be refused, too.
async fn keep_group(sftp: &Sftp, temporary: &FilePath, kept: Kept, finished: &Finished) {
    if let Some((_, group)) = kept.owner
        && finished.is_owner_refused
        && let Some(uid) = finished.uid
    {
        let attributes = FileAttributes {
            uid: Some(uid),
            gid: Some(group),
            ..FileAttributes::empty()
        };
        if let Err(error) = sftp.call(sftp.wire.setstat(temporary, attributes)).await {
            tracing::debug!(%error, "the replaced file's owner and group are not kept");
        }
    }
}

enum CopyError {
    Local(Error),
    Server(Arc<Sftp>, SftpError),
}

/// Writes all content, many requests at once. Returns the size of the whole file, and the file.
async fn copy(
    mut stripes: Stripes<'_>,
    first: Piece,
    mut from: Reader,
    request: &UploadRequest,
) -> Result<(u64, RemoteFile), CopyError> {
    let mut writes = FuturesUnordered::new();
    let max_len = first.len();
    let mut piece = first;
    let mut offset = request.resume_at.unwrap_or(0);
    while !piece.is_empty() {
        // Wait for a connection that may carry one more request.
        stripes.widen(request.size.unwrap_or(offset));
        let (stripe, sftp, handle) = loop {
            let free = stripes.begin_request(|sftp| {
                sftp.max_in_flight(
                    (BYTES_IN_FLIGHT / max_len).clamp(2, MAX_IN_FLIGHT),
                    (MIN_BYTES_IN_FLIGHT / max_len).clamp(1, MAX_IN_FLIGHT),
                )
            });
            match free {
                Some(free) => break free,
                None => finish_one(&mut writes, &mut stripes).await?,
            }
        };

        let length = piece.len() as u64;
        let mut write = Box::pin(async move {
            let written = sftp.call(sftp.wire.write(&handle, offset, piece)).await;
            (
                stripe,
                written.map_err(|error| CopyError::Server(sftp, error)),
            )
        });
        // The first poll sends the request now, and not only once responses are awaited.
        match write.as_mut().now_or_never() {
            Some((stripe, written)) => {
                stripes.end_request(stripe);
                written?;
            }
            None => writes.push(write),
        }
        offset += length;
        piece = Piece::read_from(&mut from, max_len, None)
            .await
            .map_err(|error| {
                CopyError::Local(local_error(UPLOAD, &request.path, "reading", error))
            })?;
    }
    while !writes.is_empty() {
        finish_one(&mut writes, &mut stripes).await?;
    }
    let file = stripes
        .narrow()
        .await
        .map_err(|(sftp, error)| CopyError::Server(sftp, error))?;
    Ok((offset, file))
}

/// Waits until any of the writes is done.
async fn finish_one(
    writes: &mut FuturesUnordered<impl Future<Output = (usize, Result<(), CopyError>)>>,
    stripes: &mut Stripes<'_>,
) -> Result<(), CopyError> {
    match writes.next().await {
        Some((stripe, written)) => {
            stripes.end_request(stripe);
            written
        }
        None => Ok(()),
    }
}

fn check_announced_size(request: &UploadRequest, written: u64) -> Result<()> {
    match request.size {
        Some(size) if size != written => {
            let message = format!(
                "{written} bytes were read, not the announced {size}; the source changed meanwhile"
            );
            Err(size_changed_error(request, message))
        }
        _ => Ok(()),
    }
}

fn check_stored_size(request: &UploadRequest, written: u64, stored: Option<u64>) -> Result<u64> {
    match stored {
        Some(size) if size != written => {
            let message =
                format!("the sandbox has {size} bytes of it, not the {written} that were sent");
            Err(size_changed_error(request, message))
        }
        _ => Ok(written),
    }
}

fn size_changed_error(request: &UploadRequest, message: String) -> Error {
    let reason = TransferReason::SizeChanged;
    transfer_error(UPLOAD, &request.path, reason, message)
}

/// Reports a failed write. OpenSSH does not report a full disk as such, so its free space is
/// requested.
async fn report_write_failure(
    sftp: &Sftp,
    temporary: &FilePath,
    request: &UploadRequest,
    error: SftpError,
) -> Error {
    if let SftpError::Status(_) = &error
        && sftp.statvfs
        && let Ok(disk) = sftp.call(sftp.wire.statvfs(temporary)).await
        && disk.blocks_avail.saturating_mul(disk.fragment_size) < 2 * sftp.write_len as u64
    {
        return no_space_error(UPLOAD, &request.path, error);
    }
    sftp.report_failure(UPLOAD, &request.path, error)
}

/// The attributes that the finished file gets.
fn final_attributes(request: &UploadRequest, kept: Kept) -> FileAttributes {
    let seconds = request.modified.map(sftp_seconds);
    FileAttributes {
        permissions: Some(request.mode.or(kept.mode).unwrap_or(0o644) & 0o777),
        atime: seconds,
        mtime: seconds,
        ..FileAttributes::empty()
    }
}
