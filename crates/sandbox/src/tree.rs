//! Copying directory trees: what both directions share.

mod download;
mod local;
mod upload;

/// How many small files are on their way at once: enough to share round trips between them.
const SMALL_AT_ONCE: usize = 256;
/// How many others are, for each may have much in memory.
const LARGE_AT_ONCE: usize = 8;
/// How many directories are made or removed at once.
const DIRECTORIES_AT_ONCE: usize = 64;
/// How many directories are read at once. Each may have very many entries.
pub(crate) const LISTINGS_AT_ONCE: usize = 8;

/// The result of copying a directory tree.
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
}

/// Something that was skipped when a tree was copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path, relative to the top.
    pub path: String,
    /// Why.
    pub reason: &'static str,
}

/// Limits on what a download writes to this machine. The sandbox is untrusted: it can claim to have
/// any number of files of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Files, directories and links together. Default: 1,000,000.
    pub entries: u64,
    /// Bytes in all files together. Default: 64 GiB.
    pub bytes: u64,
    /// Nesting depth of directories. Default: 128.
    pub depth: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self {
            entries: 1_000_000,
            bytes: 64 << 30,
            depth: 128,
        }
    }
}

/// Joins a path inside the sandbox and a name below it.
pub(crate) fn below(directory: &str, name: &str) -> String {
    if directory.is_empty() || directory.ends_with('/') {
        format!("{directory}{name}")
    } else {
        format!("{directory}/{name}")
    }
}

/// The path below which a tree lies: `""` would be the root of nothing.
fn root(path: String) -> String {
    if path.is_empty() {
        ".".to_owned()
    } else {
        path
    }
}
