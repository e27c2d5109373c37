//! Open files of the server, which are closed whatever happens.

use std::sync::Arc;

use futures_util::FutureExt;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::sftp::{Sftp, SftpResult};

/// What to open.
#[derive(Debug, Clone)]
pub(super) enum Target {
    File(String),
    /// A new file that only its owner can read, to be removed again should nobody want it,
    /// unless it is to be kept.
    Temporary(String, bool),
    /// One that is there, to write to.
    Writable(String),
    /// One to write to at its end, wherever that is; made when it is not there.
    End(String),
    Directory(String),
}

/// An open file or directory. Dropping it closes it, without waiting for the answer.
pub(super) struct Handle {
    sftp: Arc<Sftp>,
    /// Empty once closed.
    id: String,
    _permit: OwnedSemaphorePermit,
}

/// Opens, in a task of its own: should nobody want it any more, it is closed again.
pub(super) async fn open(sftp: &Arc<Sftp>, target: Target) -> SftpResult<Handle> {
    let gone = |_| SftpError::UnexpectedBehavior("the session has ended".into());
    let permit = Arc::clone(&sftp.handles)
        .acquire_owned()
        .await
        .map_err(gone)?;
    let sftp = Arc::clone(sftp);
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        let open = |path, flags, mode| {
            let attributes = FileAttributes {
                permissions: mode,
                ..FileAttributes::empty()
            };
            sftp.wire.open(path, flags, attributes)
        };
        let write = OpenFlags::WRITE;
        let opened = match &target {
            Target::File(path) => sftp.timed(open(path, OpenFlags::READ, None)).await,
            Target::Temporary(path, _) => {
                sftp.timed(open(
                    path,
                    write | OpenFlags::CREATE | OpenFlags::EXCLUDE,
                    Some(0o600),
                ))
                .await
            }
            Target::Writable(path) => sftp.timed(open(path, write, None)).await,
            Target::End(path) => {
                sftp.timed(open(
                    path,
                    write | OpenFlags::CREATE | OpenFlags::APPEND,
                    Some(0o644),
                ))
                .await
            }
            Target::Directory(path) => sftp.call(sftp.wire.opendir(path)).await,
        };
        let handle = opened.map(|id| Handle {
            sftp: Arc::clone(&sftp),
            id,
            _permit: permit,
        });
        if let Err(Ok(handle)) = done.send(handle) {
            drop(handle);
            if let Target::Temporary(path, false) = target {
                remove(&sftp, path).await;
            }
        }
    });
    result
        .await
        .unwrap_or_else(|_ended| Err(SftpError::UnexpectedBehavior("the runtime ended".into())))
}

/// Removes a temporary file, as far as that is possible.
pub(super) async fn remove(sftp: &Sftp, path: String) {
    if let Err(error) = sftp.call(sftp.wire.remove(&path)).await {
        tracing::debug!(%error, "a temporary file was not removed; it may not have been made");
    }
}

impl Handle {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Closes it, and tells what the server thinks of it.
    pub(super) async fn close(mut self) -> SftpResult<()> {
        let id = std::mem::take(&mut self.id);
        self.sftp.call(self.sftp.wire.close(&id)).await
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if !self.id.is_empty() {
            // The first poll sends it. The server closes it before it opens another, for it
            // takes requests in turn; so the place among the open handles is free at once.
            let id = std::mem::take(&mut self.id);
            drop(self.sftp.wire.close(&id).now_or_never());
        }
    }
}
