//! Open files and directories of the server, which are closed whatever happens.

use std::sync::Arc;

use futures_util::FutureExt;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use sandbox_core::FilePath;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::content::Piece;
use super::error::SftpResult;
use super::session::Sftp;

/// The path to open, and how.
#[derive(Debug, Clone)]
pub(crate) enum OpenMode {
    /// An existing file, for reading.
    Read(FilePath),
    /// An existing file, for writing.
    Write(FilePath),
    /// A file for writing at its end; created if missing.
    Append(FilePath),
    /// A new file that only its owner can read. If the opening is cancelled, the file is removed,
    /// unless it is `resumable`.
    CreateTemporary {
        path: FilePath,
        resumable: bool,
    },
    Directory(FilePath),
}

/// A file that was written and closed.
pub(crate) struct Finished {
    /// The size that it has, if the server reports it.
    pub(crate) size: Option<u64>,
    /// The id of its owner, if the server reports it.
    pub(crate) uid: Option<u32>,
    /// The server has not changed the owner and group.
    pub(crate) is_owner_refused: bool,
}

/// An open file or directory. Dropping it closes it, without waiting for the response.
pub(crate) struct RemoteFile {
    sftp: Arc<Sftp>,
    /// Empty once closed.
    handle: String,
    _permit: OwnedSemaphorePermit,
}

impl RemoteFile {
    /// Opens a file in a task of its own. If the future is dropped, the task closes the file again.
    pub(crate) async fn open(sftp: &Arc<Sftp>, mode: OpenMode) -> SftpResult<Self> {
        let ended = |_| SftpError::UnexpectedBehavior("the session has ended".into());
        let permit = Arc::clone(&sftp.open_files)
            .acquire_owned()
            .await
            .map_err(ended)?;
        let sftp = Arc::clone(sftp);
        let (done, result) = oneshot::channel();
        tokio::spawn(async move {
            let opened = send_open(&sftp, &mode).await;
            let file = opened.map(|handle| Self {
                sftp: Arc::clone(&sftp),
                handle,
                _permit: permit,
            });
            if let Err(Ok(file)) = done.send(file) {
                drop(file);
                if let OpenMode::CreateTemporary {
                    path,
                    resumable: false,
                } = mode
                {
                    remove_temporary(&sftp, &path).await;
                }
            }
        });
        result
            .await
            .unwrap_or_else(|_ended| Err(SftpError::UnexpectedBehavior("the runtime ended".into())))
    }

    /// The server's handle.
    pub(crate) fn handle(&self) -> &str {
        &self.handle
    }

    /// Truncates the file.
    pub(crate) async fn truncate(&self, size: u64) -> SftpResult<()> {
        let attributes = FileAttributes {
            size: Some(size),
            ..FileAttributes::empty()
        };
        let request = self.sftp.wire.fsetstat(&self.handle, attributes);
        self.sftp.call(request).await
    }

    /// The size that the file has now, if the server reports it.
    pub(crate) async fn size(&self) -> SftpResult<Option<u64>> {
        let request = self.sftp.wire.fstat(&self.handle);
        Ok(self.sftp.call(request).await?.size)
    }

    /// Writes the rest of the content at an offset, sets the owner and group as far as the server
    /// permits that, sets the attributes and closes the file, in one round trip.
    pub(crate) async fn finish(
        self,
        rest: Option<(u64, Piece)>,
        owner: Option<(u32, u32)>,
        attributes: FileAttributes,
    ) -> SftpResult<Finished> {
        let sftp = Arc::clone(&self.sftp);
        let handle = self.handle.clone();
        let write = async {
            match rest {
                Some((offset, piece)) if !piece.is_empty() => {
                    sftp.wire.write(&handle, offset, piece).await
                }
                _ => Ok(()),
            }
        };
        let set_owner = async {
            match owner {
                Some((uid, gid)) => {
                    let attributes = FileAttributes {
                        uid: Some(uid),
                        gid: Some(gid),
                        ..FileAttributes::empty()
                    };
                    sftp.wire.fsetstat(&handle, attributes).await
                }
                None => Ok(()),
            }
        };
        // The requests are sent in this order, because each is sent when first polled.
        let all = async {
            tokio::join!(
                write,
                set_owner,
                sftp.wire.fsetstat(&handle, attributes),
                sftp.wire.fstat(&handle),
                self.close()
            )
        };
        let (written, owned, set, stat, closed) = sftp.call(async { Ok(all.await) }).await?;
        written?;
        let is_owner_refused = match owned {
            Err(SftpError::Status(_)) => true,
            owned => {
                owned?;
                false
            }
        };
        set?;
        let stat = stat?;
        closed?;
        Ok(Finished {
            size: stat.size,
            uid: stat.uid,
            is_owner_refused,
        })
    }

    /// Closes the file. Unlike with a drop, errors of the server are returned.
    pub(crate) async fn close(mut self) -> SftpResult<()> {
        let handle = std::mem::take(&mut self.handle);
        self.sftp.call(self.sftp.wire.close(&handle)).await
    }
}

impl Drop for RemoteFile {
    fn drop(&mut self) {
        if !self.handle.is_empty() {
            // The first poll sends the request. The server closes the file before it opens another
            // one, because it handles requests in order, so the permit is free at once.
            let handle = std::mem::take(&mut self.handle);
            drop(self.sftp.wire.close(&handle).now_or_never());
        }
    }
}

async fn send_open(sftp: &Sftp, mode: &OpenMode) -> SftpResult<String> {
    let (path, flags, permissions) = match mode {
        OpenMode::Read(path) => (path, OpenFlags::READ, None),
        OpenMode::Write(path) => (path, OpenFlags::WRITE, None),
        OpenMode::Append(path) => {
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::APPEND;
            (path, flags, Some(0o644))
        }
        OpenMode::CreateTemporary { path, .. } => {
            let flags = OpenFlags::WRITE | OpenFlags::CREATE | OpenFlags::EXCLUDE;
            (path, flags, Some(0o600))
        }
        OpenMode::Directory(path) => return sftp.call(sftp.wire.opendir(path)).await,
    };
    let attributes = FileAttributes {
        permissions,
        ..FileAttributes::empty()
    };
    let request = sftp.wire.open(path, flags, attributes);
    sftp.call_timed(request).await
}

/// Removes a temporary file; a failure is only logged.
pub(crate) async fn remove_temporary(sftp: &Sftp, path: &FilePath) {
    if let Err(error) = sftp.call(sftp.wire.remove(path)).await {
        tracing::debug!(%error, "temporary file not removed; it may never have been created");
    }
}
