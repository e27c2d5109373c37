//! Moving directory trees: what both directions share.

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

/// What a tree's copy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeReport {
    /// Regular files copied.
    pub files: u64,
    /// Directories made, the top one included.
    pub directories: u64,
    /// Symbolic links made.
    pub symlinks: u64,
    /// Bytes in the files.
    pub bytes: u64,
    /// What was left out, and why: devices, FIFOs, links that lead elsewhere.
    pub skipped: Vec<Skipped>,
}

/// Something that a tree's copy left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skipped {
    /// Its path, below the top.
    pub path: String,
    /// Why.
    pub reason: &'static str,
}

/// How much a sandbox may make this machine write. The tree inside is untrusted: a sandbox can
/// pretend to any number of files of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Files, directories and links together: 1,000,000.
    pub entries: u64,
    /// Bytes in all files together: 64 GiB.
    pub bytes: u64,
    /// Directories within each other: 128.
    pub depth: usize,
}

impl Default for TreeLimits {
    fn default() -> Self {
        Self { entries: 1_000_000, bytes: 64 << 30, depth: 128 }
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
    if path.is_empty() { ".".to_owned() } else { path }
}
