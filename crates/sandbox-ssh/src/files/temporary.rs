//! The file beside the target of an upload, until it is complete.

use std::sync::Arc;

use sandbox_core::{Direction, FilePath, Result, TransferReason, UploadRequest, temporary_name};

use crate::sftp::{OpenMode, Sftp, SftpPool, remove_temporary, transfer_error};

const UPLOAD: Direction = Direction::Upload;

/// Removes the file when dropped, unless it is kept or partial.
pub(super) struct TemporaryFile {
    sessions: SftpPool,
    sftp: Arc<Sftp>,
    pub(super) path: FilePath,
    should_remove: bool,
}

impl TemporaryFile {
    pub(super) fn new(
        sessions: &SftpPool,
        sftp: &Arc<Sftp>,
        request: &UploadRequest,
    ) -> Result<Self> {
        let (directory, name) = request.path.split_name();
        if matches!(name, b"" | b"." | b"..") {
            return Err(transfer_error(
                UPLOAD,
                &request.path,
                TransferReason::BadName,
                "this is a directory: name the file to write",
            ));
        }
        let resumable = request.resume_at.is_some();
        let path = if resumable {
            request.partial_path()
        } else {
            FilePath::from(directory).join(temporary_name(name)?)
        };
        Ok(Self {
            sessions: sessions.clone(),
            sftp: Arc::clone(sftp),
            path,
            should_remove: !resumable,
        })
    }

    /// How the file is opened. One that is resumed exists.
    pub(super) fn open_mode(&self, request: &UploadRequest) -> OpenMode {
        match request.resume_at {
            None | Some(0) => OpenMode::CreateTemporary {
                path: self.path.clone(),
                resumable: request.resume_at.is_some(),
            },
            Some(_) => OpenMode::Write(self.path.clone()),
        }
    }

    pub(super) fn keep(mut self) {
        self.should_remove = false;
    }
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
