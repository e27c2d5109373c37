//! The small operations on files.

use std::fmt::Debug;
use std::ops::Range;
use std::time::SystemTime;

use async_trait::async_trait;

use super::{FileInfo, ListBudget, Reader};
use crate::{FilePath, Result};

/// Small operations on the files of one sandbox. A path is absolute, or relative to the home
/// directory.
///
/// Each [`Session`](crate::Session) has them too; `dyn Session` needs no import of this trait.
///
/// ```
/// use sandbox_core::{FilePath, FileSystem, Result};
///
/// async fn replace(files: &dyn FileSystem, path: &FilePath) -> Result<()> {
///     let new = FilePath::from("new.sh");
///     files.set_mode(&new, 0o755).await?;
///     files.rename(&new, path).await
/// }
/// ```
#[async_trait]
pub trait FileSystem: Debug + Send + Sync + 'static {
    /// Returns information about a path. Symbolic links are followed if `follow` is set.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn stat(&self, path: &FilePath, follow: bool) -> Result<FileInfo>;

    /// Lists the entries of a directory, without `.` and `..`, in no particular order.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer), also for an entry with a dangerous name.
    async fn list(&self, path: &FilePath) -> Result<Vec<FileInfo>>;

    /// Lists the entries of a directory, as [`list`](Self::list), as far as the budget allows. The
    /// default takes from the budget once the listing is complete.
    ///
    /// # Errors
    ///
    /// As [`list`](Self::list), and [`Transfer`](crate::Error::Transfer) with the reason
    /// [`TooLarge`](crate::TransferReason::TooLarge) if the budget is spent.
    async fn list_within(&self, path: &FilePath, budget: &ListBudget) -> Result<Vec<FileInfo>> {
        let entries = self.list(path).await?;
        let name_bytes = entries.iter().map(|entry| entry.name.len() as u64).sum();
        if budget.take(entries.len() as u64, name_bytes) {
            Ok(entries)
        } else {
            Err(ListBudget::exceeded_error(path))
        }
    }

    /// Creates a directory. With `parents`, also creates its parents, and accepts an existing
    /// directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn create_dir(&self, path: &FilePath, parents: bool) -> Result<()>;

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()>;

    /// Removes a file or a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn remove_file(&self, path: &FilePath) -> Result<()>;

    /// Removes an empty directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn remove_dir(&self, path: &FilePath) -> Result<()>;

    /// Sets the permission bits.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn set_mode(&self, path: &FilePath, mode: u32) -> Result<()>;

    /// Sets the permission bits and the time of the last modification, in one request; `None` leaves
    /// one as it is.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn set_attributes(
        &self,
        path: &FilePath,
        mode: Option<u32>,
        modified: Option<SystemTime>,
    ) -> Result<()>;

    /// Creates a symbolic link at `path` that points to `target`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn symlink(&self, target: &FilePath, path: &FilePath) -> Result<()>;

    /// Reads the target of a symbolic link. It is untrusted, as everything from a sandbox.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn read_link(&self, path: &FilePath) -> Result<FilePath>;

    /// Returns the absolute form of a path. For `.` that is the home directory.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn canonicalize(&self, path: &FilePath) -> Result<FilePath>;

    /// Appends to a file, which is created with mode 0o644 if it does not exist. Returns the number
    /// of bytes.
    ///
    /// The server writes each piece at the end of the file at that moment, in order, so concurrent
    /// writers never overwrite each other. Content that fits into one piece, of at least 32,000
    /// bytes, stays together. Pieces of longer content may be interleaved with those of other
    /// writers. Nothing is undone: after a failure, or if the future is dropped, the beginning
    /// may have been written.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer).
    async fn append(&self, path: &FilePath, from: Reader) -> Result<u64>;

    /// Returns the SHA-256 of a range of a file, or of less if the file ends before the range does.
    /// `None` if it cannot be computed: over SSH, if the server is not sandbox-sshd and has no
    /// `sh`, `tail`, `head` or `sha256sum`. The default returns `None`.
    ///
    /// # Errors
    ///
    /// [`Transfer`](crate::Error::Transfer) if the file cannot be read.
    async fn sha256(&self, path: &FilePath, range: Range<u64>) -> Result<Option<[u8; 32]>> {
        let _unused = (path, range);
        Ok(None)
    }
}
