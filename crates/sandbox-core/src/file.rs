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
    /// How many bytes there will be, when known: anything else is an error then. Of a file
    /// that is continued it is the size of all of it.
    pub size: Option<u64>,
    /// Continue what an earlier upload began: so many bytes of it are under
    /// [`partial_path`](Self::partial_path) already, and are right; the caller has made sure.
    /// Only what comes after them is read from the source. When this fails, what there is
    /// stays there, to be continued once more. `Some(0)` begins such a file.
    pub resume_at: Option<u64>,
}

impl UploadRequest {
    /// To this path, with the default mode and time.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), mode: None, modified: None, size: None, resume_at: None }
    }

    /// Where an upload to be resumed is kept until it is complete: beside the file, as
    /// `.NAME.sandbox-partial`. The name is always the same for the same path.
    pub fn partial_path(&self) -> String {
        let (directory, name) =
            self.path.rfind('/').map_or(("", self.path.as_str()), |slash| self.path.split_at(slash + 1));
        format!("{directory}{}", partial_name(name))
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
    /// Bytes at its beginning that are not wanted, for they are here already. An error when
    /// the file is shorter.
    pub offset: u64,
}

impl DownloadRequest {
    /// This file, whatever its size.
    pub fn new(path: impl Into<String>) -> Self {
        Self { path: path.into(), max_size: None, offset: 0 }
    }
}

/// The name that a file has, where its transfer can be resumed, until it is complete:
/// `.NAME.sandbox-partial`. Of a name too long for that, a beginning and a number made of all
/// of it.
pub fn partial_name(name: &str) -> String {
    // File systems take 255 bytes.
    const MOST: usize = 200;
    if name.len() <= MOST {
        return format!(".{name}.sandbox-partial");
    }
    let end = (0..=MOST).rev().find(|at| name.is_char_boundary(*at)).unwrap_or(0);
    // FNV-1a, 64 bits: the number only has to be the same each time.
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!(".{}-{hash:016x}.sandbox-partial", &name[..end])
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_name_is_beside_the_file_and_fits() {
        let of = |path: &str| UploadRequest::new(path).partial_path();
        assert_eq!(of("a"), ".a.sandbox-partial");
        assert_eq!(of("/d/e/a b"), "/d/e/.a b.sandbox-partial");
        let long = "ä".repeat(127);
        let partial = of(&format!("d/{long}"));
        assert!(partial.len() <= 255 + 2 && partial.starts_with("d/.ää"), "{partial}");
        assert_ne!(partial, of(&format!("d/{}b", "ä".repeat(126))), "names with the same beginning differ");
        assert_eq!(partial, of(&format!("d/{long}")));
    }
}
