//! One file into the sandbox.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::FutureExt;
use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::{Direction, Error, Reader, Result, TransferReason, Uid, UploadRequest};
use tokio::io::AsyncReadExt;

use super::content::Piece;
use super::failure::{cause, failed_here, fault};
use super::handle::{self, Handle, Target};
use super::hub::Hub;
use super::names::{check_path, split};
use super::ops::replace;
use super::sftp::{Sftp, SftpResult};
use super::stripes::Stripes;

/// Bytes in flight: a little more than one window of OpenSSH.
const IN_FLIGHT: usize = 9 << 18;
/// Bytes of one request of an upload that can be continued: with its head, one packet.
const RESUMABLE: usize = (32 << 10) - 64;
/// Requests in flight, however small the server wants them.
const MOST: usize = 72;
/// Bytes in flight of one upload among many.
const LEAST: usize = 256 << 10;
const UPLOAD: Direction = Direction::Upload;

/// Writes a file under a temporary name beside its own, which it gets when it is all there.
/// Under the partial name, it stays there when that does not come to pass.
pub(crate) async fn upload(hub: &Hub, request: UploadRequest, from: Reader) -> Result<u64> {
    check_path(&request.path, UPLOAD)?;
    let (directory, name) = split(&request.path);
    if name.is_empty() || name == "." || name == ".." {
        let message = "this is a directory: name the file to write";
        return Err(fault(
            UPLOAD,
            &request.path,
            TransferReason::BadName,
            message,
        ));
    }
    let sftp = hub.session().await?;
    let temporary = Temporary::new(hub, &sftp, &request, directory, name)?;
    let written = write(hub, &sftp, &temporary.path, &request, from).await?;
    replace(&sftp, &temporary.path, &request.path)
        .await
        .map_err(|error| sftp.failed(UPLOAD, &request.path, error))?;
    temporary.keep();
    Ok(written)
}

/// A file that is removed unless it is kept.
struct Temporary {
    hub: Hub,
    sftp: Arc<Sftp>,
    path: String,
    remove: bool,
}

impl Temporary {
    fn new(
        hub: &Hub,
        sftp: &Arc<Sftp>,
        request: &UploadRequest,
        directory: &str,
        name: &str,
    ) -> Result<Self> {
        let (hub, sftp) = (hub.clone(), Arc::clone(sftp));
        if request.resume_at.is_some() {
            return Ok(Self {
                hub,
                sftp,
                path: request.partial_path(),
                remove: false,
            });
        }
        // Names may have 255 bytes.
        let stem: String = name.chars().take(40).collect();
        let random = Uid::generate()?;
        let path = format!("{directory}.{stem}.sandbox-{random}");
        Ok(Self {
            hub,
            sftp,
            path,
            remove: true,
        })
    }

    fn keep(mut self) {
        self.remove = false;
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if !self.remove {
            return;
        }
        let (hub, sftp, path) = (
            self.hub.clone(),
            Arc::clone(&self.sftp),
            std::mem::take(&mut self.path),
        );
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            self.hub.undo(&runtime, async move {
                handle::remove(&sftp, path.clone()).await;
                if sftp.is_usable() {
                    return;
                }
                // It was lost with its connection. The sandbox may be gone, and the file with it.
                match hub.session().await {
                    Ok(sftp) => handle::remove(&sftp, path).await,
                    Err(error) => tracing::debug!(path, %error, "a temporary file may be left"),
                }
            });
        }
    }
}

async fn write(
    hub: &Hub,
    sftp: &Arc<Sftp>,
    temporary: &str,
    request: &UploadRequest,
    mut from: Reader,
) -> Result<u64> {
    let fail = |error| sftp.failed(UPLOAD, &request.path, error);
    let start = request.resume_at.unwrap_or(0);
    let target = match start {
        0 => Target::Temporary(temporary.to_owned(), request.resume_at.is_some()),
        _ => Target::Writable(temporary.to_owned()),
    };
    // What is to be continued is sent in small pieces, for what came of one that is not whole is lost.
    let most = if request.resume_at.is_some() {
        RESUMABLE.min(sftp.write_len)
    } else {
        sftp.write_len
    };
    let opening = handle::open(sftp, target);
    let (file, first) = tokio::join!(opening, read_piece(&mut from, most, request.size));
    let file = file.map_err(fail)?;
    let first = first.map_err(|error| failed_here(UPLOAD, &request.path, "reading", error))?;
    if start > 0 {
        // What may lie beyond was not looked at.
        let cut = FileAttributes {
            size: Some(start),
            ..FileAttributes::empty()
        };
        sftp.call(sftp.wire.fsetstat(file.id(), cut))
            .await
            .map_err(fail)?;
    }
    if first.len() < most {
        // This is all of it, and no request needs the answer to another.
        let written = start + first.len() as u64;
        announced(request, written)?;
        return match finish(sftp, file, request, Some((start, first))).await {
            Ok(there) => kept(request, written, there),
            Err(error) => Err(no_space_or(sftp, temporary, request, error).await),
        };
    }
    let stripes = Stripes::new(
        hub,
        Arc::clone(sftp),
        file,
        Target::Writable(temporary.to_owned()),
    );
    // Apart, so that what is kept for a small file is small.
    let (written, file) = match Box::pin(copy(stripes, first, from, request)).await {
        Ok(copied) => copied,
        Err(Failure::Here(error)) => return Err(error),
        Err(Failure::There(sftp, error)) => {
            return Err(no_space_or(&sftp, temporary, request, error).await);
        }
    };
    announced(request, written)?;
    kept(
        request,
        written,
        finish(sftp, file, request, None).await.map_err(fail)?,
    )
}

/// Gives the file its attributes and closes it, after the content of one that is small. The
/// size that it has then.
async fn finish(
    sftp: &Sftp,
    file: Handle,
    request: &UploadRequest,
    content: Option<(u64, Piece)>,
) -> SftpResult<Option<u64>> {
    let seconds = request.modified.map(seconds);
    let attributes = FileAttributes {
        permissions: Some(request.mode.unwrap_or(0o644) & 0o777),
        atime: seconds,
        mtime: seconds,
        ..FileAttributes::empty()
    };
    let id = file.id().to_owned();
    let write = async {
        match content {
            Some((at, content)) if !content.is_empty() => sftp.wire.write(&id, at, content).await,
            _ => Ok(()),
        }
    };
    // In this order: requests are sent as they are polled first.
    let all = async {
        tokio::join!(
            write,
            sftp.wire.fsetstat(&id, attributes),
            sftp.wire.fstat(&id),
            file.close()
        )
    };
    let (written, set, there, closed) = sftp.call(async { Ok(all.await) }).await?;
    written?;
    set?;
    let there = there?.size;
    closed?;
    Ok(there)
}

fn announced(request: &UploadRequest, written: u64) -> Result<()> {
    match request.size {
        Some(size) if size != written => {
            let message = format!(
                "{written} bytes came, not the {size} that were announced; it changed meanwhile"
            );
            Err(fault(
                UPLOAD,
                &request.path,
                TransferReason::SizeChanged,
                message,
            ))
        }
        _ => Ok(()),
    }
}

fn kept(request: &UploadRequest, written: u64, there: Option<u64>) -> Result<u64> {
    match there {
        Some(size) if size != written => {
            let message =
                format!("the sandbox has {size} bytes of it, not the {written} that were sent");
            Err(fault(
                UPLOAD,
                &request.path,
                TransferReason::SizeChanged,
                message,
            ))
        }
        _ => Ok(written),
    }
}

enum Failure {
    Here(Error),
    There(Arc<Sftp>, SftpError),
}

/// Writes all that comes. How much that was, and the one handle that is left.
async fn copy(
    mut stripes: Stripes<'_>,
    first: Piece,
    mut from: Reader,
    request: &UploadRequest,
) -> Result<(u64, Handle), Failure> {
    let mut writes = FuturesUnordered::new();
    let (most, mut piece, mut offset) = (first.len(), first, request.resume_at.unwrap_or(0));
    while !piece.is_empty() {
        stripes.widen(request.size.unwrap_or(offset));
        let (at, sftp, id) = loop {
            match stripes.free(|sftp| {
                sftp.in_flight(
                    (IN_FLIGHT / most).clamp(2, MOST),
                    (LEAST / most).clamp(1, MOST),
                )
            }) {
                Some(free) => break free,
                None => one(&mut writes, &mut stripes).await?,
            }
        };
        let length = piece.len() as u64;
        let mut write = Box::pin(async move {
            let written = sftp.call(sftp.wire.write(&id, offset, piece)).await;
            (at, written.map_err(|error| Failure::There(sftp, error)))
        });
        // Sent now, and not when there is time to look at the answers.
        match write.as_mut().now_or_never() {
            Some((at, written)) => {
                stripes.answered(at);
                written?;
            }
            None => writes.push(write),
        }
        offset += length;
        piece = read_piece(&mut from, most, None)
            .await
            .map_err(|error| Failure::Here(failed_here(UPLOAD, &request.path, "reading", error)))?;
    }
    while !writes.is_empty() {
        one(&mut writes, &mut stripes).await?;
    }
    let file = stripes
        .narrow()
        .await
        .map_err(|(sftp, error)| Failure::There(sftp, error))?;
    Ok((offset, file))
}

/// Waits for any of them to be done.
async fn one(
    writes: &mut FuturesUnordered<impl Future<Output = (usize, Result<(), Failure>)>>,
    stripes: &mut Stripes<'_>,
) -> Result<(), Failure> {
    match writes.next().await {
        Some((at, written)) => {
            stripes.answered(at);
            written
        }
        None => Ok(()),
    }
}

/// The next piece, of at most so many bytes, of what has this size, if that is known.
pub(super) async fn read_piece(
    from: &mut Reader,
    most: usize,
    size: Option<u64>,
) -> std::io::Result<Piece> {
    let expected = size
        .and_then(|size| usize::try_from(size).ok())
        .unwrap_or(most);
    let mut piece = Piece::with_capacity(expected.saturating_add(1).min(most));
    while piece.len() < most {
        let room = (most - piece.len()) as u64;
        if (&mut *from).take(room).read_buf(piece.as_vec()).await? == 0 {
            break;
        }
    }
    Ok(piece)
}

/// OpenSSH does not say why a write failed; a full disk can be asked for.
async fn no_space_or(
    sftp: &Sftp,
    temporary: &str,
    request: &UploadRequest,
    error: SftpError,
) -> Error {
    if let SftpError::Status(_) = &error
        && sftp.statvfs
        && let Ok(disk) = sftp.call(sftp.wire.statvfs(temporary)).await
        && disk.blocks_avail.saturating_mul(disk.fragment_size) < 2 * sftp.write_len as u64
    {
        return Error::transfer(
            UPLOAD,
            crate::text::escaped(&request.path),
            TransferReason::NoSpace,
            "no space is left on the sandbox's disk",
            cause(error),
        );
    }
    sftp.failed(UPLOAD, &request.path, error)
}

/// SFTP has 32 bits of seconds from 1970 on; what is outside becomes the nearest.
fn seconds(time: SystemTime) -> u32 {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
