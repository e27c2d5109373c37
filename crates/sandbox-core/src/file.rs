//! Files inside a sandbox.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::timestamp;

/// A file to write.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadRequest {
    /// Where to: absolute, or relative to the home directory. The bytes are written to a
    /// temporary name beside it, which takes this name when they are all there.
    pub path: String,
    /// Permission bits of the new file; 0o644 unless set. Set-uid bits are not sent.
    pub mode: Option<u32>,
    /// The time of last modification to give it.
    pub modified: Option<SystemTime>,
    /// How many bytes there will be, when known: anything else is an error then.
    pub size: Option<u64>,
}

impl UploadRequest {
    /// To this path, with the default mode and time.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: None, modified: None, size: None }
    }
}

/// A file to read.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadRequest {
    /// Which: absolute, or relative to the home directory.
    pub path: String,
    /// An error when there is more, so that a hostile file cannot fill the disk.
    pub max_size: Option<u64>,
}

impl DownloadRequest {
    /// This file, whatever its size.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), max_size: None }
    }
}

/// What is known of a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileInfo {
    /// Its last component, as the sandbox names it: never empty, never `.` or `..`, without a
    /// `/`; for the answer to a path, that path.
    pub name: String,
    /// What it is.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its permission bits, the set-uid, set-gid and sticky bits included.
    pub mode: u32,
    /// When its content last changed.
    #[serde(with = "timestamp::option")]
    pub modified: Option<SystemTime>,
}

impl FileInfo {
    /// What is known of a file.
    pub fn new(
        name: impl Into<String>,
        kind: FileKind,
        size: u64,
        mode: u32,
        modified: Option<SystemTime>,
    ) -> Self {
        Self { name: name.into(), kind, size, mode, modified }
    }
}

/// Kinds of files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum FileKind {
    /// A regular file.
    File,
    /// A directory.
    Directory,
    /// A symbolic link.
    Symlink,
    /// A device, a FIFO or a socket.
    Other,
}
