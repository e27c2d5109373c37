//! Resumes the transfer of one file.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox_core::{
    Direction, DownloadRequest, Error, FileKind, Result, Session, TransferReason, partial_name,
};
use sha2::{Digest, Sha256};

use super::file::{self, blocking, local_error};
use super::local_file::{LocalReader, LocalWriter};
use super::progress::{Meter, Metered};
use super::report::{Discarded, TransferReport};

/// Bytes that are compared with one hash. What was cut off while it went over several
/// connections may have a hole; no more than this is lost before it.
const BLOCK: u64 = 32 << 20;
/// Bytes read at once.
const PIECE: usize = 128 << 10;

/// Uploads a file, and continues a partial file of an interrupted upload if there is one.
pub(super) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: String,
    meter: &Arc<Meter>,
) -> Result<TransferReport> {
    let path = local.to_owned();
    let (metadata, file) =
        blocking(Direction::Upload, local, move || file::open_regular(&path)).await?;
    meter.set_total(metadata.len());
    let mut request = file::upload_request(remote, &metadata);
    let partial = request.partial_path();
    let there = match session.stat(&partial, false).await {
        Ok(info) => Some(info),
        Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => None,
        Err(error) => return Err(error),
    };
    let length = match &there {
        Some(info) if info.kind == FileKind::File => info.size.min(metadata.len()),
        _ => 0,
    };
    let (file, at, discarded) =
        verify(session, Direction::Upload, &partial, local, file, length).await?;
    if at == 0 && there.is_some() {
        session.remove_file(&partial).await?;
    }
    meter.add_bytes(at);
    request.resume_at = Some(at);
    let from = Box::new(Metered::new(
        LocalReader::new(file, metadata.len() - at),
        meter,
    ));
    let bytes = session.upload(request, from).await?;
    meter.add_file();
    Ok(TransferReport {
        bytes,
        resumed_at: at,
        discarded,
    })
}

/// Downloads a file, and continues a partial file of an interrupted download if there is one.
pub(super) async fn download(
    session: &Arc<dyn Session>,
    remote: String,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TransferReport> {
    let info = session.stat(&remote, true).await?;
    meter.set_total(info.size);
    let failed = |source| local_error(Direction::Download, local, source);
    let name = local
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
    let partial = local.with_file_name(partial_name(&name.to_string_lossy()));
    let opening = partial.clone();
    let (length, file) = blocking(Direction::Download, local, move || {
        open_partial(&opening).map_err(|source| local_error(Direction::Download, &opening, source))
    })
    .await?;
    let length = length.min(info.size);
    let (file, at, discarded) =
        verify(session, Direction::Download, &remote, local, file, length).await?;
    file.set_len(at).map_err(failed)?;
    meter.add_bytes(at);
    let mut request = DownloadRequest::new(remote.clone());
    request.offset = at;
    let writer = LocalWriter::new(file.try_clone().map_err(failed)?);
    let writer = Box::new(Metered::new(writer, meter));
    let received = session.download(request, writer).await?;
    let bytes = at + received;
    // What was proved before and what came after belong together only if it is the same.
    let now = session.stat(&remote, true).await?;
    if bytes != info.size || (now.size, now.modified) != (info.size, info.modified) {
        file.set_len(0).map_err(failed)?;
        let message = "it changed while it was read; nothing of it is kept";
        return Err(Error::transfer(
            Direction::Download,
            remote,
            TransferReason::SizeChanged,
            message,
            None,
        ));
    }
    file::set_attributes(&file, &info).map_err(failed)?;
    std::fs::rename(&partial, local).map_err(failed)?;
    meter.add_file();
    Ok(TransferReport {
        bytes,
        resumed_at: at,
        discarded,
    })
}

/// How much of the first `length` bytes of both files is proved to be the same, and why
/// not all. The local file stands there then.
async fn verify(
    session: &Arc<dyn Session>,
    direction: Direction,
    remote: &str,
    local: &Path,
    mut file: File,
    length: u64,
) -> Result<(File, u64, Option<Discarded>)> {
    let (mut at, mut discarded) = (0, None);
    while at < length {
        let range = at..length.min(at + BLOCK);
        let path: PathBuf = local.to_owned();
        let hashing = {
            let range = range.clone();
            blocking(direction, local, move || {
                let hash = hash(&mut file, range);
                hash.map(|hash| (file, hash))
                    .map_err(|source| local_error(direction, &path, source))
            })
        };
        let (theirs, ours) = tokio::join!(session.sha256(remote, range.clone()), hashing);
        let (same, ours) = ours?;
        file = same;
        match theirs? {
            Some(theirs) if theirs == ours => at = range.end,
            Some(_) => discarded = Some(Discarded::Changed),
            None => discarded = Some(Discarded::Unverified),
        }
        if let Some(why) = discarded {
            tracing::info!(
                remote,
                bytes = length - at,
                ?why,
                "a part that was there is moved once more"
            );
            break;
        }
    }
    file.seek(SeekFrom::Start(at))
        .map_err(|source| local_error(direction, local, source))?;
    Ok((file, at, discarded))
}

fn hash(file: &mut File, range: Range<u64>) -> std::io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(range.start))?;
    let (mut hash, mut left) = (Sha256::new(), range.end - range.start);
    let mut buffer = vec![0; PIECE];
    while left > 0 {
        let most = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
        match file.read(&mut buffer[..most])? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
        }
    }
    Ok(hash.finalize().into())
}

/// The file that is not complete, with its length; a new one when there is none. It is locked
/// until it is closed.
fn open_partial(path: &Path) -> std::io::Result<(u64, File)> {
    let file = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            private().create_new(true).open(path)?
        }
        Err(error) => return Err(error),
        Ok(seen) => {
            let refused = || std::io::Error::other("it is no regular file; remove it");
            if !seen.is_file() {
                return Err(refused());
            }
            let file = private().open(path)?;
            // It was not replaced by a link in between.
            if is_same(&seen, &file.metadata()?) {
                file
            } else {
                return Err(refused());
            }
        }
    };
    match file.try_lock() {
        Ok(()) => Ok((file.metadata()?.len(), file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(std::io::Error::other("another transfer is at work on it"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

fn private() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt;
        (one.dev(), one.ino()) == (other.dev(), other.ino())
    }
    #[cfg(not(unix))]
    {
        one.len() == other.len()
    }
}
