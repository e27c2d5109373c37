//! Copying one file between this machine and a sandbox.

use std::fs::{File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use sandbox_core::{
    Direction, DownloadRequest, Error, FileInfo, Reader, Result, TransferReason, UploadRequest,
};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::local_file::{LocalReader, LocalWriter};
use crate::meter::{Meter, Metered};
use crate::{Sandbox, Transfer};

/// A file of at most so many bytes is read at once.
const SMALL: u64 = 32 << 10;

impl Sandbox {
    /// Uploads a local file to `remote`, with its permission bits and modification time. It appears there
    /// when it is complete. Returns its size in bytes.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let bytes = sbx.upload("data.csv", "data.csv").await?; // relative to the sandbox's home
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason, also if the file
    /// shrinks or grows meanwhile.
    pub async fn upload(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<u64> {
        Ok(self.transfer().upload(local, remote).await?.bytes)
    }

    /// Downloads a file of the sandbox to `local`, replacing an existing file. It appears there when it
    /// is complete. Set-uid, set-gid and sticky bits are dropped. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason; an existing file is
    /// then unchanged.
    pub async fn download(
        &self,
        remote: impl Into<String>,
        local: impl AsRef<Path>,
    ) -> Result<u64> {
        Ok(self.transfer().download(remote, local).await?.bytes)
    }

    /// Uploads everything from `reader` to `remote`. The file appears there when it is complete. Returns
    /// its size in bytes.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// sbx.upload_from(tokio::io::empty(), "empty").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer); an existing file is then unchanged.
    pub async fn upload_from(
        &self,
        reader: impl AsyncRead + Send + Unpin + 'static,
        remote: impl Into<String>,
    ) -> Result<u64> {
        let sent = self
            .inner
            .session
            .upload(UploadRequest::new(remote), Box::new(reader))
            .await;
        self.inner.explained(sent).await
    }

    /// Copies a file of the sandbox to `writer`, and flushes it. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer); part of the content may have been written.
    pub async fn download_to(
        &self,
        remote: impl Into<String>,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> Result<u64> {
        let read = self
            .inner
            .session
            .download(DownloadRequest::new(remote), Box::new(writer))
            .await;
        self.inner.explained(read).await
    }
}

impl Transfer {
    pub(crate) async fn upload_file(
        &self,
        local: &Path,
        remote: String,
        meter: &Arc<Meter>,
    ) -> Result<u64> {
        let path = local.to_owned();
        let source = blocking(Direction::Upload, local, move || Source::open(path)).await?;
        meter.expect(source.metadata.len());
        source.send(&self.sandbox, remote, meter).await
    }

    pub(crate) async fn download_file(
        &self,
        remote: String,
        local: &Path,
        meter: &Arc<Meter>,
    ) -> Result<u64> {
        let inner = &self.sandbox.inner;
        let info = inner
            .explained(inner.session.stat(&remote, true).await)
            .await?;
        meter.expect(info.size);
        let failed = |source| local_error(Direction::Download, local, source);

        let directory = local
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
            .unwrap_or(Path::new("."));
        let temporary = tempfile::Builder::new()
            .prefix(".sandbox-")
            .tempfile_in(directory)
            .map_err(failed)?;
        let writer = LocalWriter::new(temporary.as_file().try_clone().map_err(failed)?);
        let writer = Box::new(Metered::new(writer, meter));
        let size = inner
            .explained(
                inner
                    .session
                    .download(DownloadRequest::new(remote), writer)
                    .await,
            )
            .await?;
        finish(temporary.as_file(), &info).map_err(failed)?;
        temporary
            .persist(local)
            .map_err(|error| failed(error.error))?;
        meter.file_done();
        Ok(size)
    }
}

/// A local file to send. All of it is in memory when it is small: then it costs one change of
/// threads to read many of them, and not several for each.
pub(crate) struct Source {
    pub(crate) metadata: Metadata,
    content: Content,
}

enum Content {
    Whole(Bytes),
    Open(File),
}

impl Source {
    /// Opens a regular file; blocks.
    pub(crate) fn open(path: PathBuf) -> Result<Self> {
        let (metadata, mut file) = open_regular(&path)?;
        if metadata.len() > SMALL {
            return Ok(Self {
                metadata,
                content: Content::Open(file),
            });
        }
        let mut content = Vec::with_capacity(usize::try_from(metadata.len()).unwrap_or(0) + 1);
        // One more, to see that it has grown.
        let read = file
            .by_ref()
            .take(metadata.len() + 1)
            .read_to_end(&mut content);
        read.map_err(|source| local_error(Direction::Upload, &path, source))?;
        Ok(Self {
            metadata,
            content: Content::Whole(content.into()),
        })
    }

    pub(crate) fn is_small(&self) -> bool {
        matches!(self.content, Content::Whole(_))
    }

    pub(crate) async fn send(
        self,
        sandbox: &Sandbox,
        remote: String,
        meter: &Arc<Meter>,
    ) -> Result<u64> {
        let request = request(remote, &self.metadata);
        let from: Reader = match self.content {
            Content::Whole(content) => Box::new(Metered::new(std::io::Cursor::new(content), meter)),
            Content::Open(file) => Box::new(Metered::new(
                LocalReader::new(file, self.metadata.len()),
                meter,
            )),
        };
        let sent = sandbox
            .inner
            .explained(sandbox.inner.session.upload(request, from).await)
            .await?;
        meter.file_done();
        Ok(sent)
    }
}

/// Opens a file and nothing else; blocks.
pub(crate) fn open_regular(path: &Path) -> Result<(Metadata, File)> {
    let failed = |source| local_error(Direction::Upload, path, source);
    // Before it is opened, for opening a FIFO would wait for its other end.
    let metadata = std::fs::metadata(path).map_err(failed)?;
    if !metadata.is_file() {
        let message = if metadata.is_dir() {
            "it is a directory; upload_dir copies those"
        } else {
            "it is not a regular file"
        };
        let shown = path.display().to_string();
        return Err(Error::transfer(
            Direction::Upload,
            shown,
            TransferReason::Other,
            message,
            None,
        ));
    }
    let file = File::open(path).map_err(failed)?;
    Ok((file.metadata().map_err(failed)?, file))
}

/// What to write, with the attributes of this file.
pub(crate) fn request(remote: String, metadata: &Metadata) -> UploadRequest {
    let mut request = UploadRequest::new(remote);
    request.size = Some(metadata.len());
    request.mode = mode_of(metadata);
    request.modified = metadata.modified().ok();
    request
}

/// Gives a downloaded file the permission bits and the time of the one in the sandbox.
pub(crate) fn finish(file: &File, info: &FileInfo) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(info.mode & 0o777);
        file.set_permissions(mode)?;
    }
    match info.modified {
        Some(modified) => file.set_modified(modified),
        None => Ok(()),
    }
}

/// The permission bits to send, where this system has them.
fn mode_of(metadata: &Metadata) -> Option<u32> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        Some(metadata.permissions().mode() & 0o777)
    }
    #[cfg(not(unix))]
    {
        let _ = metadata;
        None
    }
}

/// Work on this machine's files, on a thread that may wait for them.
pub(crate) async fn blocking<T: Send + 'static>(
    direction: Direction,
    path: &Path,
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|panic| {
            let (path, message) = (
                path.display().to_string(),
                "the files on this machine could not be used",
            );
            Err(Error::transfer(
                direction,
                path,
                TransferReason::Other,
                message,
                Some(Box::new(panic)),
            ))
        })
}

/// A failure on this side.
pub(crate) fn local_error(direction: Direction, path: &Path, source: std::io::Error) -> Error {
    let reason = match source.kind() {
        std::io::ErrorKind::NotFound => TransferReason::NotFound,
        std::io::ErrorKind::PermissionDenied => TransferReason::PermissionDenied,
        std::io::ErrorKind::AlreadyExists => TransferReason::AlreadyExists,
        std::io::ErrorKind::StorageFull => TransferReason::NoSpace,
        _ => TransferReason::Other,
    };
    Error::transfer(
        direction,
        path.display().to_string(),
        reason,
        format!("on this machine: {source}"),
        None,
    )
}
