//! Files inside a sandbox.

use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::{FilePath, Result, Uid, timestamp};

/// A file to upload.
///
/// ```
/// use sandbox_core::UploadRequest;
///
/// let mut request = UploadRequest::new("bin/tool");
/// request.mode = Some(0o755);
/// assert_eq!(request.partial_path(), "bin/.tool.sandbox-partial");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct UploadRequest {
    /// The target path: absolute, or relative to the home directory. The content is written under
    /// a temporary name next to it, and renamed when it is complete.
    pub path: FilePath,
    /// The permission bits that the file gets. Without them, an existing file keeps its own, and a
    /// new one gets 0o644. Set-uid, set-gid and sticky bits are never set.
    pub mode: Option<u32>,
    /// The modification time to set.
    pub modified: Option<SystemTime>,
    /// The number of bytes, if known. Any other number is then an error. For a resumed file it is
    /// the size of the whole file.
    pub size: Option<u64>,
    /// Resume an earlier upload: this many bytes are already in the file
    /// [`partial_path`](Self::partial_path), and the caller has verified them. Only the bytes
    /// after them are read from the source. If this upload fails, the partial file stays, for
    /// the next attempt. `Some(0)` starts such a file.
    pub resume_at: Option<u64>,
    /// What happens to what is at the path already.
    pub target: TargetPolicy,
}

/// What an upload does with what is at its path already.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum TargetPolicy {
    /// As `cp`: a symbolic link is followed, and the file that it leads to is replaced. A device or
    /// FIFO gets the bytes as they arrive. A file keeps its owner and group where the server
    /// permits that, and its mode if the request has none. Further hard links to it keep the former
    /// content, as with rsync.
    #[default]
    Follow,
    /// As rsync, for the files of a tree: a symbolic link is replaced, not followed, and a device, a
    /// FIFO or a socket is an error. A file keeps its owner and group where the server permits that.
    Replace,
    /// The caller has just created the directory. What appeared there since is replaced without a
    /// look at it.
    New,
}

impl UploadRequest {
    /// Uploads to this path, with the default mode and time.
    pub fn new(path: impl Into<FilePath>) -> Self {
        Self {
            path: path.into(),
            mode: None,
            modified: None,
            size: None,
            resume_at: None,
            target: TargetPolicy::default(),
        }
    }

    /// Returns the path of the partial file of a resumable upload: next to the target, as
    /// `.NAME.sandbox-partial`. It is always the same for the same target.
    pub fn partial_path(&self) -> FilePath {
        let (directory, name) = self.path.split_name();
        FilePath::from(directory).join(partial_name(name))
    }
}

/// A file to download.
///
/// ```
/// use sandbox_core::DownloadRequest;
///
/// let mut request = DownloadRequest::new("result.json");
/// request.max_size = Some(1 << 20);
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct DownloadRequest {
    /// The path: absolute, or relative to the home directory.
    pub path: FilePath,
    /// The maximum size. A larger file is an error, so that a hostile sandbox cannot fill the
    /// disk.
    pub max_size: Option<u64>,
    /// The number of bytes to skip at the beginning, because they are already here. A shorter file
    /// is an error.
    pub offset: u64,
}

impl DownloadRequest {
    /// Downloads this file, whatever its size.
    pub fn new(path: impl Into<FilePath>) -> Self {
        Self {
            path: path.into(),
            max_size: None,
            offset: 0,
        }
    }
}

/// Returns the name of the partial file of a resumable transfer: `.NAME.sandbox-partial`. If the
/// name is too long for that, its beginning and a hash of the whole name are used.
pub fn partial_name(name: impl Into<FilePath>) -> FilePath {
    // File systems accept 255 bytes; the rest is for the hash and the suffix.
    const MAX_NAME_LEN: usize = 200;
    const SUFFIX: &[u8] = b".sandbox-partial";
    let name = name.into();
    let name = name.as_bytes();
    if name.len() <= MAX_NAME_LEN {
        return FilePath::from([b".", name, SUFFIX].concat());
    }
    // No character of UTF-8 is cut.
    let is_boundary = |at: &usize| name[*at] & 0b1100_0000 != 0b1000_0000;
    let end = (0..=MAX_NAME_LEN).rev().find(is_boundary).unwrap_or(0);
    // FNV-1a, 64 bits: the number only has to be the same each time.
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let hash = format!("-{hash:016x}");
    FilePath::from([b".", &name[..end], hash.as_bytes(), SUFFIX].concat())
}

/// Generates the name of a temporary file for the file of this name: `.STEM.sandbox-UID`.
///
/// # Errors
///
/// [`Backend`](crate::Error::Backend) if the system has no random numbers.
pub fn temporary_name(name: impl AsRef<[u8]>) -> Result<FilePath> {
    let suffix = format!(".sandbox-{}", Uid::generate()?);
    Ok(FilePath::from(
        [b".", stem(name.as_ref()), suffix.as_bytes()].concat(),
    ))
}

/// The beginning of a name, without part of a character of UTF-8 at its end. A name may have 255
/// bytes.
fn stem(name: &[u8]) -> &[u8] {
    const MAX_STEM_LEN: usize = 120;
    let is_boundary = |at: &usize| {
        name.get(*at)
            .is_none_or(|byte| byte & 0b1100_0000 != 0b1000_0000)
    };
    let end = (0..=name.len().min(MAX_STEM_LEN)).rev().find(is_boundary);
    &name[..end.unwrap_or(0)]
}

/// Information about a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct FileInfo {
    /// The last component of its path, as the sandbox reports it: never empty, `.` or `..`, and
    /// without a `/`. In the response to a request for one path, that path.
    pub name: FilePath,
    /// The kind of file.
    pub kind: FileKind,
    /// Its size in bytes.
    pub size: u64,
    /// Its permission bits, including the set-uid, set-gid and sticky bits.
    pub mode: u32,
    /// When its content was last modified.
    #[serde(with = "timestamp::option")]
    pub modified: Option<SystemTime>,
}

impl FileInfo {
    /// Creates information about a file.
    pub fn new(
        name: impl Into<FilePath>,
        kind: FileKind,
        size: u64,
        mode: u32,
        modified: Option<SystemTime>,
    ) -> Self {
        Self {
            name: name.into(),
            kind,
            size,
            mode,
            modified,
        }
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
    fn a_partial_path_is_next_to_the_file_and_short_enough() {
        let partial_path = |path: &str| UploadRequest::new(path).partial_path();
        assert_eq!(partial_path("a"), ".a.sandbox-partial");
        assert_eq!(partial_path("/d/e/a b"), "/d/e/.a b.sandbox-partial");
        let long = "ä".repeat(127);
        let partial = partial_path(&format!("d/{long}"));
        assert!(
            partial.len() <= 255 + 2 && partial.to_str().unwrap().starts_with("d/.ää"),
            "{partial}"
        );
        assert_ne!(
            partial,
            partial_path(&format!("d/{}b", "ä".repeat(126))),
            "names with the same beginning differ"
        );
        assert_eq!(partial, partial_path(&format!("d/{long}")));
        assert_eq!(
            partial_name(b"caf\xe9"),
            FilePath::from(b".caf\xe9.sandbox-partial")
        );
        assert!(partial_name([0x80; 255].as_slice()).len() <= 255);
    }

    #[test]
    fn a_stem_is_short_and_ends_with_a_whole_character() {
        assert_eq!(stem("ä".as_bytes()), "ä".as_bytes());
        let long = format!("a{}", "ä".repeat(127));
        assert_eq!(stem(long.as_bytes()).len(), 119);
        assert_eq!(stem(&[0xff; 255]).len(), 120);
        assert!(stem(&[0x80; 255]).is_empty());
        assert!(temporary_name([0xff; 255]).unwrap().len() <= 255);
    }
}
