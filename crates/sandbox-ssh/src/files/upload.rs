//! Writes one file into the sandbox.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::{
    Direction, Error, FilePath, Reader, Result, TransferReason, Uid, UploadRequest,
};

use super::file_names::check_path;
use super::stripes::Stripes;
use crate::sftp::{
    OpenMode, Piece, RemoteFile, Sftp, SftpPool, local_error, no_space_error, remove_temporary,
    transfer_error,
};

/// Bytes in flight: a little more than one window of OpenSSH.
const BYTES_IN_FLIGHT: usize = 9 << 18;
/// Bytes of one request of a resumable upload: with its head, one SSH packet.
const RESUMABLE_LEN: usize = (32 << 10) - 64;
/// The most requests in flight, however short the server wants them.
const MAX_IN_FLIGHT: usize = 72;
/// Bytes in flight of one upload among many.
const MIN_BYTES_IN_FLIGHT: usize = 256 << 10;
/// The most bytes of a file's name in the name of its temporary file.
const MAX_STEM: usize = 120;
const UPLOAD: Direction = Direction::Upload;

/// Writes a file under a temporary name beside its own, and renames it once it is complete. A
/// resumable upload uses the partial file, which remains if the upload fails.
pub(crate) async fn upload(
    sessions: &SftpPool,
    request: UploadRequest,
    from: Reader,
) -> Result<u64> {
    check_path(&request.path, UPLOAD)?;
    let (directory, name) = request.path.split_name();
    if matches!(name, b"" | b"." | b"..") {
        return Err(transfer_error(
            UPLOAD,
            &request.path,
            TransferReason::BadName,
            "this is a directory: name the file to write",
        ));
    }
    let sftp = sessions.session().await?;
    let temporary = TemporaryFile::new(sessions, &sftp, &request, directory, name)?;
    let written = write_file(sessions, &sftp, &temporary.path, &request, from).await?;
    sftp.replace(&temporary.path, &request.path)
        .await
        .map_err(|error| sftp.report_failure(UPLOAD, &request.path, error))?;
    temporary.keep();
    Ok(written)
}

/// Removes the file when dropped, unless it is kept or partial.
struct TemporaryFile {
    sessions: SftpPool,
    sftp: Arc<Sftp>,
    path: FilePath,
    should_remove: bool,
}

impl TemporaryFile {
    fn new(
        sessions: &SftpPool,
        sftp: &Arc<Sftp>,
        request: &UploadRequest,
        directory: &[u8],
        name: &[u8],
    ) -> Result<Self> {
        let resumable = request.resume_at.is_some();
        let path = if resumable {
            request.partial_path()
        } else {
            // A name may have 255 bytes.
            let suffix = format!(".sandbox-{}", Uid::generate()?);
            FilePath::from([directory, b".", stem(name), suffix.as_bytes()].concat())
        };
        Ok(Self {
            sessions: sessions.clone(),
            sftp: Arc::clone(sftp),
            path,
            should_remove: !resumable,
        })
    }

    fn keep(mut self) {
        self.should_remove = false;
    }
}

/// The beginning of a name, without part of a character of UTF-8 at its end.
fn stem(name: &[u8]) -> &[u8] {
    let is_boundary = |at: &usize| {
        name.get(*at)
            .is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000)
    };
    let end = (0..=name.len().min(MAX_STEM)).rev().find(is_boundary);
    &name[..end.unwrap_or(0)]
}

impl Drop for TemporaryFile {
    fn drop(&mut self) {
        if !self.should_remove {
            return;
        }
        let Ok(runtime) = tokio::runtime::Handle::try_current() else {
            return;
        };
        let sessions = self.sessions.clone();
        let sftp = Arc::clone(&self.sftp);
        let path = std::mem::take(&mut self.path);
        self.sessions.spawn_cleanup(&runtime, async move {
            remove_temporary(&sftp, &path).await;
            if sftp.is_usable() {
                return;
            }
            // The session was lost with its connection. The sandbox may have ended, and the file
            // with it.
            match sessions.session().await {
                Ok(sftp) => remove_temporary(&sftp, &path).await,
                Err(error) => tracing::debug!(%path, %error, "temporary file may remain"),
            }
        });
    }
}

/// Writes and closes the temporary file. Returns the size of the whole file.
async fn write_file(
    sessions: &SftpPool,
    sftp: &Arc<Sftp>,
    temporary: &FilePath,
    request: &UploadRequest,
    mut from: Reader,
) -> Result<u64> {
    let fail = |error| sftp.report_failure(UPLOAD, &request.path, error);

    // Open the file, and meanwhile read the first piece. The requests of a resumable upload are
    // short, because the received part of an incomplete request is lost.
    let start = request.resume_at.unwrap_or(0);
    let resumable = request.resume_at.is_some();
    let mode = if start == 0 {
        OpenMode::CreateTemporary {
            path: temporary.clone(),
            resumable,
        }
    } else {
        OpenMode::Write(temporary.clone())
    };
    let max_len = if resumable {
        RESUMABLE_LEN.min(sftp.write_len)
    } else {
        sftp.write_len
    };
    let (file, first) = tokio::join!(
        RemoteFile::open(sftp, mode),
        Piece::read_from(&mut from, max_len, request.size)
    );
    let file = file.map_err(fail)?;
    let first = first.map_err(|error| local_error(UPLOAD, &request.path, "reading", error))?;
    if start > 0 {
        // Data beyond the verified part of the partial file is discarded.
        file.truncate(start).await.map_err(fail)?;
    }

    // A small file: its first piece is the whole content, and no request depends on the response
    // to another.
    if first.len() < max_len {
        let written = start + first.len() as u64;
        check_announced_size(request, written)?;
        let finished = file
            .finish(Some((start, first)), final_attributes(request))
            .await;
        return match finished {
            Ok(stored) => check_stored_size(request, written, stored),
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
    let stored = file
        .finish(None, final_attributes(request))
        .await
        .map_err(fail)?;
    check_stored_size(request, written, stored)
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
fn final_attributes(request: &UploadRequest) -> FileAttributes {
    let seconds = request.modified.map(sftp_seconds);
    FileAttributes {
        permissions: Some(request.mode.unwrap_or(0o644) & 0o777),
        atime: seconds,
        mtime: seconds,
        ..FileAttributes::empty()
    }
}

/// SFTP has 32 bits of seconds since 1970; other times become the nearest.
fn sftp_seconds(time: SystemTime) -> u32 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stem_is_short_and_ends_with_a_whole_character() {
        assert_eq!(stem("ä".as_bytes()), "ä".as_bytes());
        let long = format!("a{}", "ä".repeat(127));
        assert_eq!(stem(long.as_bytes()).len(), MAX_STEM - 1);
        assert_eq!(stem(&[0xff; 255]).len(), MAX_STEM);
        assert!(stem(&[0x80; 255]).is_empty());
    }
}
