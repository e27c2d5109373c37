//! Copies one file between this machine and a sandbox.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sandbox_core::{
    Direction, DownloadRequest, Error, FileInfo, FilePath, Reader, Result, Session, TargetPolicy,
    TransferReason, UploadRequest,
};

use super::limits::{TreeLimits, check_room};
use super::local_file::{LocalReader, LocalWriter};
use super::local_target::{LocalTarget, keep_owner, open_fifo, open_in_place, parent};
use super::progress::{Meter, Metered};

/// The maximum size of a file that is read at once, in bytes.
const SMALL: u64 = 32 << 10;
/// The most bytes that are read of a file whose size is given as 0.
const MAX_GENERATED: u64 = 64 << 20;
/// The permission bits that a sandbox may give to files of this machine: it does not decide that all
/// users may write to them, or that they run as another user.
pub(super) const LOCAL_MODE: u32 = 0o775;

/// Uploads a file. Returns its size in bytes.
pub(super) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<u64> {
    let path = local.to_owned();
    let source = blocking(Direction::Upload, local, move || Source::open(path)).await?;
    meter.set_total(source.metadata.len());
    source
        .send(session, remote, TargetPolicy::Follow, meter)
        .await
}

/// Downloads a file. Returns its size in bytes.
pub(super) async fn download(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<u64> {
    let info = session.stat(&remote, true).await?;
    let request = limits.request(remote, &info)?;
    meter.set_total(info.size);
    let failed = |source| local_error(Direction::Download, local, source);
    let size = match find_target(local).await? {
        LocalTarget::File(path) => replace(session, request, &info, &path, meter).await?,
        LocalTarget::Fifo => {
            let to = open_fifo(local).await.map_err(failed)?;
            let to = Box::new(Metered::new(to, meter));
            session.download(request, to).await?
        }
        LocalTarget::InPlace => {
            let path = local.to_owned();
            let to = blocking(Direction::Download, local, move || {
                open_in_place(&path)
                    .map_err(|source| local_error(Direction::Download, &path, source))
            });
            let to = Box::new(Metered::new(to.await?, meter));
            session.download(request, to).await?
        }
    };
    meter.add_file();
    Ok(size)
}

/// Finds out what is at the local path of a download.
pub(super) async fn find_target(local: &Path) -> Result<LocalTarget> {
    let path = local.to_owned();
    blocking(Direction::Download, local, move || {
        LocalTarget::find(&path).map_err(|source| local_error(Direction::Download, &path, source))
    })
    .await
}

/// Downloads a file under a temporary name, and renames it.
async fn replace(
    session: &Arc<dyn Session>,
    request: DownloadRequest,
    info: &FileInfo,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<u64> {
    let failed = |source| local_error(Direction::Download, local, source);
    let directory = parent(local);
    check_room(directory, local, info.size)?;
    let temporary = tempfile::Builder::new()
        .prefix(".sandbox-")
        .tempfile_in(directory)
        .map_err(failed)?;
    let writer = LocalWriter::with_holes(temporary.as_file().try_clone().map_err(failed)?);
    let writer = Box::new(Metered::new(writer, meter));
    let size = session.download(request, writer).await?;
    if let Ok(replaced) = local.symlink_metadata() {
        keep_owner(temporary.as_file(), &replaced);
    }
    set_attributes(temporary.as_file(), info).map_err(failed)?;
    temporary
        .persist(local)
        .map_err(|error| failed(error.error))?;
    Ok(size)
}

/// A local file to send. A small one is read into memory when it is opened, so that many small
/// files need only one switch to a blocking thread together.
pub(super) struct Source {
    pub(super) metadata: Metadata,
    pub(super) content: Content,
}

pub(super) enum Content {
    Whole(Bytes),
    Open(File),
}

impl Source {
    /// Opens a regular file, and reads it if it is small. Blocks.
    pub(super) fn open(path: PathBuf) -> Result<Self> {
        let (metadata, mut file) = open_regular(&path)?;
        if metadata.len() > SMALL {
            return Ok(Self {
                metadata,
                content: Content::Open(file),
            });
        }
        // A file that grows or shrinks now is sent as it is read. Files of /proc have content although
        // their size is zero.
        let limit = match metadata.len() {
            0 => MAX_GENERATED,
            size => size,
        };
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0));
        let read = file.by_ref().take(limit).read_to_end(&mut content);
        read.map_err(|source| local_error(Direction::Upload, &path, source))?;
        if metadata.len() == 0 && content.len() as u64 == MAX_GENERATED {
            let source = std::io::Error::other(
                "its size is given as 0, and it has 64 MiB or more; copy it with a command",
            );
            return Err(local_error(Direction::Upload, &path, source));
        }
        Ok(Self {
            metadata,
            content: Content::Whole(content.into()),
        })
    }

    pub(super) fn is_small(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    pub(super) async fn send(
        self,
        session: &Arc<dyn Session>,
        remote: FilePath,
        target: TargetPolicy,
        meter: &Arc<Meter>,
    ) -> Result<u64> {
        let mut request = upload_request(remote, &self.metadata);
        request.target = target;
        let from: Reader = match self.content {
            Content::Whole(content) => {
                request.size = Some(content.len() as u64);
                Box::new(Metered::new(std::io::Cursor::new(content), meter))
            }
            Content::Open(file) => Box::new(Metered::new(
                LocalReader::new(file, self.metadata.len()),
                meter,
            )),
        };
        let sent = session.upload(request, from).await?;
        meter.add_file();
        Ok(sent)
    }
}

/// Opens a regular file, and refuses everything else. Blocks.
pub(super) fn open_regular(path: &Path) -> Result<(Metadata, File)> {
    let failed = |source| local_error(Direction::Upload, path, source);
    // The kind is checked before the file is opened, because opening a FIFO waits for its other
    // end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let message = if metadata.is_dir() {
            "is a directory; use upload_dir"
        } else {
            "not a regular file"
        };
        return Err(Error::transfer(
            Direction::Upload,
            path,
            TransferReason::Other,
            message,
            None,
        ));
    }
    let file = File::open(path).map_err(failed)?;
    Ok((file.metadata().map_err(failed)?, file))
}

/// Creates the request to upload a file with its attributes.
pub(super) fn upload_request(remote: FilePath, metadata: &Metadata) -> UploadRequest {
    let mut request = UploadRequest::new(remote);
    request.size = Some(metadata.len());
    request.mode = mode_of(metadata, 0o777);
    request.modified = metadata.modified().ok();
    request
}

/// Sets the permission bits and modification time of a downloaded file or directory as in the
/// sandbox. A directory keeps its own set-group-id bit, which it has from its parent.
pub(super) fn set_attributes(file: &File, info: &FileInfo) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let there = file.metadata()?;
        let kept = if there.is_dir() {
            there.permissions().mode() & 0o2000
        } else {
            0
        };
        let mode = std::fs::Permissions::from_mode(info.mode & LOCAL_MODE | kept);
        file.set_permissions(mode)?;
    }
    match info.modified {
        Some(modified) => file.set_modified(modified),
        None => Ok(()),
    }
}

/// Returns the bits of the mode that are in `mask`, if this system has modes.
pub(super) fn mode_of(metadata: &Metadata, mask: u32) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(metadata.permissions().mode() & mask)
    }
    #[cfg(not(unix))]
    {
        let _ = (metadata, mask);
        None
    }
}

/// Runs work on local files on a blocking thread.
pub(super) async fn blocking<T: Send + 'static>(
    direction: Direction,
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            let message = "local file access was aborted";
            Err(Error::transfer(
                direction,
                path,
                TransferReason::Other,
                message,
                Some(Box::new(panic)),
            ))
        })
}

/// Returns a path of the sandbox as one of this machine.
pub(super) fn local_path(path: &FilePath) -> std::io::Result<&Path> {
    path.as_path().ok_or_else(|| {
        std::io::Error::new(
            std::io::ErrorKind::InvalidFilename,
            "this system has no names that are not UTF-8; rename the file in the sandbox",
        )
    })
}

/// Creates the error of a failure on this machine.
pub(super) fn local_error(direction: Direction, path: &Path, source: std::io::Error) -> Error {
    let reason = match source.kind() {
        std::io::ErrorKind::NotFound => TransferReason::NotFound,
        std::io::ErrorKind::PermissionDenied => TransferReason::PermissionDenied,
        std::io::ErrorKind::AlreadyExists => TransferReason::AlreadyExists,
        std::io::ErrorKind::StorageFull => TransferReason::NoSpace,
        _ => TransferReason::Other,
    };
    Error::transfer(
        direction,
        path,
        reason,
        format!("on this machine: {source}"),
        None,
    )
}
