//! Resumes the transfer of one file.

use std::fs::{File, Metadata};
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox_core::{
    Direction, DownloadRequest, Error, FileKind, FilePath, Result, Session, TransferReason,
    partial_name,
};
use sha2::{Digest, Sha256};

use super::file::{self, blocking, local_error, local_path};
use super::local_file::{LocalReader, LocalWriter};
use super::progress::{Meter, Metered};
use super::report::{Discarded, TransferReport};

/// The size of the blocks that are compared by hash, in bytes. A transfer over several connections
/// that was interrupted may leave a hole in the partial file. At most one block before the hole is
/// transferred again.
const BLOCK_SIZE: u64 = 32 << 20;
/// How much of a local file is read at once, in bytes.
const READ_SIZE: usize = 128 << 10;

/// Uploads a file, and continues a partial file of an interrupted upload if there is one.
pub(super) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<TransferReport> {
    let path = local.to_owned();
    let (metadata, file) =
        blocking(Direction::Upload, local, move || file::open_regular(&path)).await?;
    meter.set_total(metadata.len());

    // Find out how much of the partial file can be used.
    let mut request = file::upload_request(remote, &metadata);
    let partial = request.partial_path();
    let existing = match session.stat(&partial, false).await {
        Ok(info) => Some(info),
        Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => None,
        Err(error) => return Err(error),
    };
    let length = match &existing {
        Some(info) if info.kind == FileKind::File => info.size.min(metadata.len()),
        _ => 0,
    };
    let (file, at, discarded) =
        verify(session, Direction::Upload, &partial, local, file, length).await?;
    if at == 0 && existing.is_some() {
        session.remove_file(&partial).await?;
    }

    // Upload the rest.
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
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TransferReport> {
    let info = session.stat(&remote, true).await?;
    meter.set_total(info.size);
    let failed = |source| local_error(Direction::Download, local, source);

    // Find out how much of the partial file can be used, and cut off the rest.
    let name = local
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
    let partial = partial_name(name);
    let partial = local.with_file_name(local_path(&partial).map_err(failed)?);
    let opening = partial.clone();
    let (length, file) = blocking(Direction::Download, local, move || {
        open_partial(&opening).map_err(|source| local_error(Direction::Download, &opening, source))
    })
    .await?;
    let length = length.min(info.size);
    let (file, at, discarded) =
        verify(session, Direction::Download, &remote, local, file, length).await?;
    file.set_len(at).map_err(failed)?;

    // Download the rest.
    meter.add_bytes(at);
    let mut request = DownloadRequest::new(remote.clone());
    request.offset = at;
    let writer = LocalWriter::new(file.try_clone().map_err(failed)?);
    let writer = Box::new(Metered::new(writer, meter));
    let received = session.download(request, writer).await?;
    let bytes = at + received;

    // The verified part and the rest belong together only if the file has not changed meanwhile.
    let now = session.stat(&remote, true).await?;
    if bytes != info.size || (now.size, now.modified) != (info.size, info.modified) {
        file.set_len(0).map_err(failed)?;
        let message =
            "the file changed during the download, and the partial file was discarded; retry";
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

/// Compares the first `length` bytes of both files, block by block. Returns how many bytes are
/// equal, and why not all are. The local file is then positioned after the equal bytes.
async fn verify(
    session: &Arc<dyn Session>,
    direction: Direction,
    remote: &FilePath,
    local: &Path,
    mut file: File,
    length: u64,
) -> Result<(File, u64, Option<Discarded>)> {
    let mut at = 0;
    let mut discarded = None;
    while at < length {
        let range = at..length.min(at + BLOCK_SIZE);
        let (remote_hash, hashed) = tokio::join!(
            session.sha256(remote, range.clone()),
            hash_local(direction, local, file, range.clone())
        );
        let (hashed_file, local_hash) = hashed?;
        file = hashed_file;
        match remote_hash? {
            Some(remote_hash) if remote_hash == local_hash => at = range.end,
            Some(_) => discarded = Some(Discarded::Changed),
            None => discarded = Some(Discarded::Unverified),
        }
        if let Some(why) = discarded {
            tracing::info!(
                %remote,
                bytes = length - at,
                ?why,
                "partial data discarded; transferring it again"
            );
            break;
        }
    }
    file.seek(SeekFrom::Start(at))
        .map_err(|source| local_error(direction, local, source))?;
    Ok((file, at, discarded))
}

/// Hashes a range of a local file on a blocking thread. Returns the file and the hash.
async fn hash_local(
    direction: Direction,
    local: &Path,
    mut file: File,
    range: Range<u64>,
) -> Result<(File, [u8; 32])> {
    let path: PathBuf = local.to_owned();
    blocking(direction, local, move || match hash(&mut file, range) {
        Ok(hash) => Ok((file, hash)),
        Err(source) => Err(local_error(direction, &path, source)),
    })
    .await
}

/// Returns the SHA-256 of a range of a file.
fn hash(file: &mut File, range: Range<u64>) -> std::io::Result<[u8; 32]> {
    file.seek(SeekFrom::Start(range.start))?;
    let mut hash = Sha256::new();
    let mut left = range.end - range.start;
    let mut buffer = vec![0; READ_SIZE];
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(READ_SIZE).min(READ_SIZE);
        match file.read(&mut buffer[..wanted])? {
            0 => break,
            read => {
                hash.update(&buffer[..read]);
                left -= read as u64;
            }
        }
    }
    Ok(hash.finalize().into())
}

/// Opens the partial file, or creates it. It is locked until it is closed. Returns its length and
/// the file.
fn open_partial(path: &Path) -> std::io::Result<(u64, File)> {
    let file = match path.symlink_metadata() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            private_file_options().create_new(true).open(path)?
        }
        Err(error) => return Err(error),
        Ok(metadata) => {
            let refused = || std::io::Error::other("not a regular file; remove it and retry");
            if !metadata.is_file() {
                return Err(refused());
            }
            let file = private_file_options().open(path)?;
            // A file that was replaced by a link since the check is refused.
            if is_same_file(&metadata, &file.metadata()?) {
                file
            } else {
                return Err(refused());
            }
        }
    };
    match file.try_lock() {
        Ok(()) => Ok((file.metadata()?.len(), file)),
        Err(std::fs::TryLockError::WouldBlock) => {
            Err(std::io::Error::other("another transfer is using this file"))
        }
        Err(std::fs::TryLockError::Error(error)) => Err(error),
    }
}

/// Returns the options for a file that only this user can read.
fn private_file_options() -> std::fs::OpenOptions {
    let mut options = File::options();
    options.read(true).write(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    options
}

fn is_same_file(one: &Metadata, other: &Metadata) -> bool {
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
