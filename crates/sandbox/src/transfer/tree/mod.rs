//! Copies directory trees between this machine and a sandbox: as one stream, or file by file where
//! the server has no such stream.

mod download;
mod growth;
mod listing;
mod local_dir;
mod local_tree;
mod refused_dirs;
mod remote_dirs;
mod stream;
mod target_dir;
mod upload;

use std::path::Path;
use std::sync::Arc;

use sandbox_core::{Direction, Error, FilePath, Result, Session, TransferReason};

use self::stream::{LocalTop, Subject};
use super::file::blocking;
use super::limits::TreeLimits;
use super::progress::Meter;
use super::report::TreeReport;

/// Concurrent transfers of small files, enough to share round trips between them.
const SMALL_AT_ONCE: usize = 256;
/// Concurrent transfers of large files, few because each may buffer much in memory.
const LARGE_AT_ONCE: usize = 8;
/// Concurrent requests that create directories or links.
const DIRECTORIES_AT_ONCE: usize = 64;
/// The permissions that the owner of a directory needs to fill it.
const FILLABLE: u32 = 0o700;

/// Uploads a directory tree.
pub(super) async fn upload(
    session: &Arc<dyn Session>,
    local: &Path,
    remote: FilePath,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let direction = Direction::Upload;
    let remote = top_path(remote);
    check_top(direction, &remote)?;
    let path = local.to_owned();
    let top = blocking(direction, local, move || LocalTop::open(&path)).await?;
    match session.open_tree(direction).await {
        Ok(channel) => {
            let subject = Subject { direction, remote };
            stream::upload::upload(channel, top, &subject, meter).await
        }
        Err(Error::Unsupported(_)) => upload::upload(session, local, remote, meter).await,
        Err(error) => Err(error),
    }
}

/// Downloads a directory tree.
pub(super) async fn download(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: FilePath,
    local: &Path,
    meter: &Arc<Meter>,
) -> Result<TreeReport> {
    let remote = top_path(remote);
    check_top(Direction::Download, &remote)?;
    match session.open_tree(Direction::Download).await {
        Ok(channel) => stream::download::download(channel, limits, local, remote, meter).await,
        Err(Error::Unsupported(_)) => {
            download::download(session, limits, remote, local, meter).await
        }
        Err(error) => Err(error),
    }
}

/// Refuses a path that cannot be sent.
fn check_top(direction: Direction, remote: &FilePath) -> Result<()> {
    if remote.as_bytes().contains(&0) {
        return Err(Error::transfer(
            direction,
            remote,
            TransferReason::BadName,
            "the path contains a NUL byte, which no file name can have",
            None,
        ));
    }
    Ok(())
}

/// Returns the path of the top directory. An empty path means the home directory.
fn top_path(path: FilePath) -> FilePath {
    if path.is_empty() { ".".into() } else { path }
}
