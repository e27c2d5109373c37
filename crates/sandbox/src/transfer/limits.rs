//! How much a sandbox may write to this machine.

use std::path::Path;

use sandbox_core::{Direction, DownloadRequest, Error, FileInfo, FilePath, Result, TransferReason};

/// The most bytes of a file whose size is given as 0, as that of files which are generated when they
/// are read (in `/proc`). 256 MiB.
pub(super) const MAX_GENERATED: u64 = 256 << 20;

/// Limits on what a download writes to this machine. The sandbox is untrusted: it can claim to have
/// any number of files of any size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct TreeLimits {
    /// Files, directories and links together. Default: 1,000,000.
    pub entries: u64,
    /// Bytes in all files together; also those of a single file. Default: 64 GiB.
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

impl TreeLimits {
    /// Creates the request to download a single file, which must be within the limits.
    pub(super) fn request(&self, remote: FilePath, info: &FileInfo) -> Result<DownloadRequest> {
        if info.size > self.bytes {
            return Err(Error::transfer(
                Direction::Download,
                remote,
                TransferReason::TooLarge,
                format!(
                    "it has {} bytes, and at most {} are allowed; raise the limit to download it",
                    info.size, self.bytes
                ),
                None,
            ));
        }
        let mut request = DownloadRequest::new(remote);
        request.max_size = Some(self.max_size(info));
        Ok(request)
    }

    /// Returns how large a file may be when it is opened, which it may have grown to.
    pub(super) fn max_size(&self, info: &FileInfo) -> u64 {
        if info.size == 0 {
            self.bytes.min(MAX_GENERATED)
        } else {
            self.bytes
        }
    }
}

/// Checks that the disk of a local directory has room for this many bytes. Where that is unknown,
/// the copy itself will show it. Blocks.
pub(super) fn check_room(directory: &Path, file: &Path, bytes: u64) -> Result<()> {
    match free_bytes(directory) {
        Some(free) if bytes > free => Err(Error::transfer(
            Direction::Download,
            file,
            TransferReason::NoSpace,
            format!(
                "on this machine: {bytes} bytes are needed and {free} are free; free some, or \
                 choose another disk"
            ),
            None,
        )),
        _ => Ok(()),
    }
}

fn free_bytes(directory: &Path) -> Option<u64> {
    #[cfg(unix)]
    {
        let disk = rustix::fs::statvfs(directory).ok()?;
        // A file system that does not know its size reports none.
        (disk.f_blocks > 0).then(|| disk.f_bavail.saturating_mul(disk.f_frsize))
    }
    #[cfg(not(unix))]
    {
        let _ = directory;
        None
    }
}

#[cfg(test)]
mod tests {
    use sandbox_core::FileKind;

    use super::*;

    #[test]
    fn a_single_file_is_limited() {
        let limits = TreeLimits::default();
        let request = |size| {
            let info = FileInfo::new("f", FileKind::File, size, 0o644, None);
            limits.request("f".into(), &info)
        };
        assert_eq!(request(1).unwrap().max_size, Some(64 << 30));
        assert_eq!(request(0).unwrap().max_size, Some(MAX_GENERATED));
        for size in [(64 << 30) + 1, 8 << 40, u64::MAX] {
            let error = request(size).unwrap_err();
            assert!(
                matches!(&error, Error::Transfer(error) if error.reason == TransferReason::TooLarge),
                "{error}"
            );
        }
    }

    #[test]
    fn the_room_of_the_disk_is_compared() {
        let directory = tempfile::tempdir().unwrap();
        check_room(directory.path(), Path::new("f"), 1).unwrap();
        let error = check_room(directory.path(), Path::new("f"), u64::MAX).unwrap_err();
        assert!(error.to_string().contains("are free"), "{error}");
        check_room(&directory.path().join("missing"), Path::new("f"), u64::MAX).unwrap();
    }
}
