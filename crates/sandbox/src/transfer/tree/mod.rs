//! Copies directory trees between this machine and a sandbox.

pub(super) mod download;
mod growth;
mod listing;
mod local_dir;
mod local_tree;
mod refused_dirs;
mod remote_dirs;
mod target_dir;
pub(super) mod upload;

use sandbox_core::FilePath;

/// Concurrent transfers of small files, enough to share round trips between them.
const SMALL_AT_ONCE: usize = 256;
/// Concurrent transfers of large files, few because each may buffer much in memory.
const LARGE_AT_ONCE: usize = 8;
/// Concurrent requests that create directories or links.
const DIRECTORIES_AT_ONCE: usize = 64;
/// The permissions that the owner of a directory needs to fill it.
const FILLABLE: u32 = 0o700;

/// Returns the path of the top directory. An empty path means the home directory.
fn top_path(path: FilePath) -> FilePath {
    if path.is_empty() { ".".into() } else { path }
}
