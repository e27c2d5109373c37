//! The results of transfers.

use sandbox_core::{Direction, Error, FilePath, Result, TransferReason};

/// The result of transferring one file.
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let report = sbx.transfer().resume(true).upload("big.tar", "big.tar").await?;
/// println!("{} bytes, {} of them from an earlier transfer", report.bytes, report.resumed_at);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TransferReport {
    /// The size of the file in bytes.
    pub bytes: u64,
    /// How many of these bytes were already there from an earlier transfer, and verified.
    pub resumed_at: u64,
    /// Why a partial file was not used, or only in part.
    pub discarded: Option<Discarded>,
}

/// Why part of an earlier transfer was discarded and transferred again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Discarded {
    /// The partial file and the source differ from [`resumed_at`](TransferReport::resumed_at) on:
    /// one of them has changed.
    Changed,
    /// The sandbox cannot compute the hash of a file: its SSH server is not the SDK's own, and it
    /// has no `sha256sum`.
    Unverified,
    /// Another user may have made the partial file, or may read or change it: it has another owner,
    /// rights for others, or another hard link. It was left as it is.
    NotPrivate,
}

impl TransferReport {
    pub(super) fn new(bytes: u64) -> Self {
        Self {
            bytes,
            resumed_at: 0,
            discarded: None,
        }
    }
}

/// The result of copying a directory tree.
///
/// A tree may change while it is copied, and may have files that cannot be read. Such a file costs
/// only itself: it is in `failed`, and the rest is copied. [`check`](Self::check) turns that into an
/// error.
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let report = sbx.download_dir("out", "./out").await?;
/// println!("{} files, {} bytes, {} skipped", report.files, report.bytes, report.skipped.len());
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeReport {
    /// The number of regular files copied.
    pub files: u64,
    /// The number of directories created, including the top one.
    pub directories: u64,
    /// The number of symbolic links created.
    pub symlinks: u64,
    /// The number of bytes in the files.
    pub bytes: u64,
    /// What was skipped, and why: devices, FIFOs, links that lead outside.
    pub skipped: Vec<Skipped>,
    /// What could not be copied, and why: at most the first 1000.
    pub failed: Vec<Failed>,
    /// How many files, directories and links could not be copied.
    pub failures: u64,
}

impl TreeReport {
    /// Returns this report if everything was copied, except what was `skipped`.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// let report = sbx.download_dir("out", "./out").await?.check()?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`] with the first of `failed`.
    pub fn check(self) -> Result<Self> {
        let Some(first) = self.failed.first() else {
            return Ok(self);
        };
        let message = match self.failures {
            0 | 1 => first.message.clone(),
            count => format!(
                "{}; {} more of the tree were not copied either",
                first.message,
                count - 1
            ),
        };
        let path = first.path.clone();
        Err(Error::transfer(
            first.direction,
            path,
            first.reason,
            message,
            None,
        ))
    }
}

/// Something that could not be copied when a tree was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failed {
    /// Its path, relative to the top; empty for the top itself.
    pub path: FilePath,
    /// What failed: the copy, or the access inside the sandbox.
    pub direction: Direction,
    /// The kind of failure.
    pub reason: TransferReason,
    /// The problem.
    pub message: String,
}

/// Something that was skipped when a tree was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path, relative to the top.
    pub path: FilePath,
    /// Why.
    pub reason: &'static str,
}
