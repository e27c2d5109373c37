//! One file into the sandbox.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use futures_util::stream::{FuturesUnordered, StreamExt};
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::{Direction, Error, Reader, Result, TransferReason, UploadRequest};
use tokio::io::AsyncReadExt;

use super::failure::{failed_here, fault};
use super::handle::{self, Handle, Target};
use super::hub::Hub;
use super::names::{check_path, split};
use super::ops::replace;
use super::sftp::{Sftp, SftpResult};

/// Requests in flight: together one window of OpenSSH.
const IN_FLIGHT: usize = 64;
/// Requests in flight of one upload among many.
const LEAST: usize = 8;
/// Bytes of one request: with its head, one packet that every server takes.
const PIECE: usize = (32 << 10) - 64;
const UPLOAD: Direction = Direction::Upload;

/// Writes a file under a temporary name beside its own, which it gets when it is all there.
pub(crate) async fn upload(hub: &Hub, request: UploadRequest, from: Reader) -> Result<u64> {
    check_path(&request.path, UPLOAD)?;
    let (directory, name) = split(&request.path);
    if name.is_empty() || name == "." || name == ".." {
        let message = "this is a directory: name the file to write";
        return Err(fault(UPLOAD, &request.path, TransferReason::BadName, message));
    }
    let sftp = hub.session().await?;
    let temporary = Temporary::new(&sftp, directory, name)?;
    let written = write(&sftp, &temporary.path, &request, from).await?;
    replace(&sftp, &temporary.path, &request.path)
        .await
        .map_err(|error| sftp.failed(UPLOAD, &request.path, error))?;
    temporary.keep();
    Ok(written)
}

/// A file that is removed unless it is kept.
struct Temporary {
    sftp: Arc<Sftp>,
    path: String,
    remove: bool,
}

impl Temporary {
    fn new(sftp: &Arc<Sftp>, directory: &str, name: &str) -> Result<Self> {
        // Names may have 255 bytes.
        let stem: String = name.chars().take(40).collect();
        let random = super::ops::random_word()?;
        let path = format!("{directory}.{stem}.sandbox-{random}");
        Ok(Self { sftp: Arc::clone(sftp), path, remove: true })
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
        let (sftp, path) = (Arc::clone(&self.sftp), std::mem::take(&mut self.path));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move { handle::remove(&sftp, path).await });
        }
    }
}

async fn write(sftp: &Arc<Sftp>, temporary: &str, request: &UploadRequest, from: Reader) -> Result<u64> {
    let fail = |error| sftp.failed(UPLOAD, &request.path, error);
    let file = handle::open(sftp, Target::Temporary(temporary.to_owned())).await.map_err(fail)?;
    let written = match copy(sftp, &file, from, request).await {
        Ok(written) => written,
        Err(Failure::Here(error)) => return Err(error),
        Err(Failure::There(error)) => return Err(no_space_or(sftp, temporary, request, error).await),
    };
    if request.size.is_some_and(|size| size != written) {
        let message = format!(
            "{written} bytes came, not the {} that were announced; it changed meanwhile",
            request.size.unwrap_or(0)
        );
        return Err(fault(UPLOAD, &request.path, TransferReason::SizeChanged, message));
    }
    let seconds = request.modified.map(seconds);
    let attributes = FileAttributes {
        permissions: Some(request.mode.unwrap_or(0o644) & 0o777),
        atime: seconds,
        mtime: seconds,
        ..FileAttributes::empty()
    };
    sftp.call(sftp.raw.fsetstat(file.id(), attributes)).await.map_err(fail)?;
    let there = sftp.call(sftp.raw.fstat(file.id())).await.map_err(fail)?.attrs.size;
    file.close().await.map_err(fail)?;
    match there {
        Some(size) if size != written => {
            let message = format!("the sandbox has {size} bytes of it, not the {written} that were sent");
            Err(fault(UPLOAD, &request.path, TransferReason::SizeChanged, message))
        }
        _ => Ok(written),
    }
}

enum Failure {
    Here(Error),
    There(SftpError),
}

async fn copy(sftp: &Sftp, file: &Handle, mut from: Reader, request: &UploadRequest) -> Result<u64, Failure> {
    let transfer = sftp.transfer();
    let mut writes = FuturesUnordered::new();
    let mut offset = 0_u64;
    loop {
        let piece = read_piece(&mut from)
            .await
            .map_err(|error| Failure::Here(failed_here(UPLOAD, &request.path, "reading", error)))?;
        if piece.is_empty() {
            break;
        }
        while writes.len() >= transfer.in_flight(IN_FLIGHT, LEAST) {
            sftp.call(one(&mut writes)).await.map_err(Failure::There)?;
        }
        let length = piece.len() as u64;
        writes.push(sftp.raw.write(file.id(), offset, piece));
        offset += length;
    }
    while !writes.is_empty() {
        sftp.call(one(&mut writes)).await.map_err(Failure::There)?;
    }
    Ok(offset)
}

/// Waits for any of them to be done.
async fn one<T>(writes: &mut FuturesUnordered<impl Future<Output = SftpResult<T>>>) -> SftpResult<()> {
    writes.next().await.transpose().map(drop)
}

async fn read_piece(from: &mut Reader) -> std::io::Result<Vec<u8>> {
    let mut piece = Vec::with_capacity(PIECE);
    while piece.len() < PIECE {
        let room = (PIECE - piece.len()) as u64;
        if (&mut *from).take(room).read_buf(&mut piece).await? == 0 {
            break;
        }
    }
    Ok(piece)
}

/// OpenSSH does not say why a write failed; a full disk can be asked for.
async fn no_space_or(sftp: &Sftp, temporary: &str, request: &UploadRequest, error: SftpError) -> Error {
    if let SftpError::Status(_) = &error
        && sftp.statvfs
        && let Ok(disk) = sftp.call(sftp.raw.statvfs(temporary)).await
        && disk.blocks_avail.saturating_mul(disk.fragment_size) < 2 * PIECE as u64
    {
        return Error::transfer(
            UPLOAD,
            crate::text::escaped(&request.path),
            TransferReason::NoSpace,
            "no space is left on the sandbox's disk",
            Some(error.into()),
        );
    }
    sftp.failed(UPLOAD, &request.path, error)
}

/// SFTP has 32 bits of seconds from 1970 on; what is outside becomes the nearest.
fn seconds(time: SystemTime) -> u32 {
    let seconds = time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    u32::try_from(seconds).unwrap_or(u32::MAX)
}
