//! Open files of the server, which are closed whatever happens.

use std::sync::Arc;

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, OpenFlags};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::sftp::{Sftp, SftpResult};

/// What to open.
pub(super) enum Target {
    File(String, OpenFlags, FileAttributes),
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
    let sftp = Arc::clone(sftp);
    let (done, result) = oneshot::channel();
    tokio::spawn(async move {
        let opened = async {
            let permit = Arc::clone(&sftp.handles)
                .acquire_owned()
                .await
                .map_err(|closed| SftpError::UnexpectedBehavior(closed.to_string()))?;
            let handle = match target {
                Target::File(path, flags, attributes) => {
                    sftp.call(sftp.raw.open(path, flags, attributes)).await?
                }
                Target::Directory(path) => sftp.call(sftp.raw.opendir(path)).await?,
            };
            Ok(Handle { sftp: Arc::clone(&sftp), id: handle.handle, _permit: permit })
        };
        drop(done.send(opened.await));
    });
    result.await.unwrap_or_else(|_ended| Err(SftpError::UnexpectedBehavior("the runtime ended".into())))
}

impl Handle {
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Closes it, and tells what the server thinks of it.
    pub(super) async fn close(mut self) -> SftpResult<()> {
        let id = std::mem::take(&mut self.id);
        self.sftp.call(self.sftp.raw.close(id)).await.map(drop)
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        if self.id.is_empty() {
            return;
        }
        let (sftp, id) = (Arc::clone(&self.sftp), std::mem::take(&mut self.id));
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                if let Err(error) = sftp.call(sftp.raw.close(id)).await {
                    tracing::debug!(%error, "a file could not be closed");
                }
            });
        }
    }
}
