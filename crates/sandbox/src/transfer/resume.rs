//! Resumes the transfer of one file.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sandbox_core::{
    Direction, Error, FileKind, FilePath, Result, Session, TransferReason, partial_name,
};
use sha2::{Digest, Sha256};

use super::file::{self, blocking, local_error, local_path};
use super::limits::{TreeLimits, check_room};
use super::local_file::{LocalReader, LocalWriter};
use super::local_target::{LocalTarget, MAX_LINKS, keep_owner, parent};
use super::partial_file::{PartialFile, is_still_at, open_partial};
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
    if metadata.len() == 0 {
        // There is nothing to resume, and a file of /proc has content all the same.
        return file::upload(session, local, remote, meter)
            .await
            .map(TransferReport::new);
    }
    meter.set_total(metadata.len());

    // Find out how much of the partial file can be used. It is beside the file to which links lead.
    let remote = follow_links(session, remote).await?;
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
    limits: TreeLimits,
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TransferReport> {
    let info = session.stat(&remote, true).await?;
    let mut request = limits.request(remote.clone(), &info)?;
    meter.set_total(info.size);
    let LocalTarget::File(local) = file::find_target(local).await? else {
        let message = "a device or FIFO cannot be resumed; use no resumable transfer";
        let source = std::io::Error::other(message);
        return Err(local_error(Direction::Download, local, source));
    };
    let local = local.as_path();
    let failed = |source| local_error(Direction::Download, local, source);

    // Find out how much of the partial file can be used, and cut off the rest.
    let name = local
        .file_name()
        .ok_or_else(|| failed(std::io::ErrorKind::IsADirectory.into()))?;
    let partial = partial_name(name);
    let partial = local.with_file_name(local_path(&partial).map_err(failed)?);
    let opening = partial.clone();
    let opened = blocking(Direction::Download, local, move || {
        open_partial(&opening).map_err(|source| local_error(Direction::Download, &opening, source))
    });
    let (length, file) = match opened.await? {
        PartialFile::Private(length, file) => (length, file),
        PartialFile::NotPrivate(why) => {
            tracing::info!(partial = ?partial, why, "partial file not used; downloading anew");
            let mut report =
                TransferReport::new(file::download(session, limits, remote, local, meter).await?);
            report.discarded = Some(Discarded::NotPrivate);
            return Ok(report);
        }
    };
    let length = length.min(info.size);
    let (mut file, at, discarded) =
        verify(session, Direction::Download, &remote, local, file, length).await?;
    file.set_len(at).map_err(failed)?;
    check_room(parent(local), local, info.size - at)?;

    // Download the rest.
    meter.add_bytes(at);
    request.offset = at;
    let writer = LocalWriter::with_holes(file.try_clone().map_err(failed)?);
    let writer = Box::new(Metered::new(writer, meter));
    let received = session.download(request, writer).await?;
    let bytes = at + received;

    // The verified part and the rest belong together only if the file has not changed meanwhile, or
    // has only grown.
    let now = session.stat(&remote, true).await?;
    if at > 0 && (bytes, now.size, now.modified) != (info.size, info.size, info.modified) {
        let (verified, equal, _) =
            verify(session, Direction::Download, &remote, local, file, bytes).await?;
        file = verified;
        if equal < bytes {
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
    }
    if let Ok(replaced) = local.symlink_metadata() {
        keep_owner(&file, &replaced);
    }
    file::set_attributes(&file, &info).map_err(failed)?;
    if !is_still_at(&file, &partial) {
        let source = std::io::Error::other("the partial file was moved meanwhile; retry");
        return Err(local_error(Direction::Download, &partial, source));
    }
    std::fs::rename(&partial, local).map_err(failed)?;
    meter.add_file();
    Ok(TransferReport {
        bytes,
        resumed_at: at,
        discarded,
    })
}

/// Follows the links at the path of an upload, also if there is nothing yet where they lead.
async fn follow_links(session: &Arc<dyn Session>, path: FilePath) -> Result<FilePath> {
    let refused = |message: &str| {
        Err(Error::transfer(
            Direction::Upload,
            path.clone(),
            TransferReason::Other,
            message,
            None,
        ))
    };
    let mut at = path.clone();
    for _ in 0..MAX_LINKS {
        match session.stat(&at, false).await {
            Ok(info) if info.kind == FileKind::Symlink => {
                let target = session.read_link(&at).await?;
                at = if target.as_bytes().starts_with(b"/") {
                    target
                } else {
                    FilePath::from([at.split_name().0, target.as_bytes()].concat())
                };
            }
            Ok(info) if info.kind == FileKind::Other => {
                return refused("a device or FIFO cannot be resumed; use no resumable transfer");
            }
            Ok(_) => return Ok(at),
            Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => {
                return Ok(at);
            }
            Err(error) => return Err(error),
        }
    }
    refused("its symbolic links lead to each other; remove one of them")
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
