//! Moving one file between this machine and a sandbox.

use std::path::Path;

use sandbox_core::{Direction, DownloadRequest, Error, FileInfo, Result, TransferReason, UploadRequest};

use crate::Sandbox;

impl Sandbox {
    /// Writes a local file to `remote`, with its permission bits and time. It appears there
    /// when it is complete. Gives its size in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason; also when the file shrinks or grows
    /// meanwhile.
    pub async fn upload(&self, local: impl AsRef<Path>, remote: impl Into<String>) -> Result<u64> {
        let local = local.as_ref();
        let failed = |source| local_error(Direction::Upload, local, source);
        let file = tokio::fs::File::open(local).await.map_err(failed)?;
        let metadata = file.metadata().await.map_err(failed)?;
        if !metadata.is_file() {
            let message = if metadata.is_dir() {
                "it is a directory; upload_dir copies those"
            } else {
                "it is not a regular file"
            };
            return Err(Error::transfer(
                Direction::Upload,
                local.display().to_string(),
                TransferReason::Other,
                message,
                None,
            ));
        }
        let mut request = UploadRequest::new(remote);
        request.size = Some(metadata.len());
        request.mode = mode_of(&metadata);
        request.modified = metadata.modified().ok();
        self.inner.explained(self.inner.session.upload(request, Box::new(file)).await).await
    }

    /// Writes a file of the sandbox to `local`, in place of one that is there. It appears
    /// there when it is complete; set-uid, set-gid and sticky bits are not taken over. Gives
    /// its size in bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) with the side and the reason; then a former file is as it was.
    pub async fn download(&self, remote: impl Into<String>, local: impl AsRef<Path>) -> Result<u64> {
        let (remote, local) = (remote.into(), local.as_ref());
        let session = &self.inner.session;
        let info = self.inner.explained(session.stat(&remote, true).await).await?;
        let failed = |source| local_error(Direction::Download, local, source);

        let directory =
            local.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let temporary =
            tempfile::Builder::new().prefix(".sandbox-").tempfile_in(directory).map_err(failed)?;
        let writer = tokio::fs::File::from_std(temporary.as_file().try_clone().map_err(failed)?);
        let size = self
            .inner
            .explained(session.download(DownloadRequest::new(remote), Box::new(writer)).await)
            .await?;
        finish(&temporary, &info).map_err(failed)?;
        temporary.persist(local).map_err(|error| failed(error.error))?;
        Ok(size)
    }
}

/// Gives a downloaded file the permission bits and the time of the one in the sandbox.
fn finish(temporary: &tempfile::NamedTempFile, info: &FileInfo) -> std::io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(info.mode & 0o777);
        temporary.as_file().set_permissions(mode)?;
    }
    match info.modified {
        Some(modified) => temporary.as_file().set_modified(modified),
        None => Ok(()),
    }
}

/// The permission bits to send, where this system has them.
pub(crate) fn mode_of(metadata: &std::fs::Metadata) -> Option<u32> {
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

/// A failure on this side.
pub(crate) fn local_error(direction: Direction, path: &Path, source: std::io::Error) -> Error {
    let reason = match source.kind() {
        std::io::ErrorKind::NotFound => TransferReason::NotFound,
        std::io::ErrorKind::PermissionDenied => TransferReason::PermissionDenied,
        std::io::ErrorKind::AlreadyExists => TransferReason::AlreadyExists,
        std::io::ErrorKind::StorageFull => TransferReason::NoSpace,
        _ => TransferReason::Other,
    };
    Error::transfer(direction, path.display().to_string(), reason, format!("on this machine: {source}"), None)
}
