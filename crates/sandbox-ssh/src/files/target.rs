//! What is at the path of an upload, and where its links lead.

use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::FileAttributes;
use sandbox_core::{
    Direction, FileKind, FilePath, Result, TargetPolicy, TransferReason, UploadRequest,
};

use super::file_names::check_path;
use super::ops::single_path;
use crate::sftp::{Sftp, file_kind, transfer_error};

/// The most links from a path to a file, as in Linux.
const MAX_LINKS: usize = 40;
const UPLOAD: Direction = Direction::Upload;

/// What is at the path of an upload.
pub(super) enum Target {
    /// Nothing, or something that is replaced.
    Replaced(Kept),
    /// A symbolic link, which is to be followed.
    Link,
    /// A device or a FIFO, which gets the bytes as they arrive.
    Special,
}

/// What the new file takes over from the one that it replaces.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Kept {
    pub(super) mode: Option<u32>,
    /// The ids of the user and of the group.
    pub(super) owner: Option<(u32, u32)>,
}

/// Finds out what is at the path of an upload. The request is sent when the future is first polled.
pub(super) async fn find_target(sftp: &Sftp, request: &UploadRequest) -> Result<Target> {
    let nothing = Target::Replaced(Kept::default());
    if request.target == TargetPolicy::New {
        return Ok(nothing);
    }
    let found = match sftp.call(sftp.wire.lstat(&request.path)).await {
        Ok(found) => found,
        // Nothing is there, or opening the temporary file beside it fails for the same reason.
        Err(SftpError::Status(_)) => return Ok(nothing),
        Err(error) => return Err(sftp.report_failure(UPLOAD, &request.path, error)),
    };
    // The partial file of a resumable upload is beside the path itself.
    let follows = request.target == TargetPolicy::Follow && request.resume_at.is_none();
    match file_kind(&found) {
        FileKind::File => Ok(Target::Replaced(Kept::from_attributes(&found))),
        FileKind::Symlink if follows => Ok(Target::Link),
        FileKind::Other if follows => Ok(Target::Special),
        FileKind::Other => Err(transfer_error(
            UPLOAD,
            &request.path,
            TransferReason::AlreadyExists,
            "a device, a FIFO or a socket is there, which is not replaced",
        )),
        // Renaming to a directory fails.
        _ => Ok(nothing),
    }
}

/// Follows the link at a path, and those that it leads to, also if there is nothing yet at the end.
/// `None` if that is a device or a FIFO.
pub(super) async fn follow_links(sftp: &Sftp, path: &FilePath) -> Result<Option<FilePath>> {
    let fail = |error| sftp.report_failure(UPLOAD, path, error);
    // A link such as /dev/stdout may lead to something that has no path.
    if let Ok(found) = sftp.call(sftp.wire.stat(path)).await
        && file_kind(&found) == FileKind::Other
    {
        return Ok(None);
    }
    let mut at = path.clone();
    for _ in 0..MAX_LINKS {
        let link = sftp.call(sftp.wire.readlink(&at)).await.map_err(fail)?;
        let target = single_path(&at, link)?;
        at = if target.as_bytes().starts_with(b"/") {
            target
        } else {
            FilePath::from([at.split_name().0, target.as_bytes()].concat())
        };
        check_path(&at, UPLOAD)?;
        match sftp.call(sftp.wire.lstat(&at)).await {
            Ok(found) if file_kind(&found) == FileKind::Symlink => {}
            Ok(_) | Err(SftpError::Status(_)) => return Ok(Some(at)),
            Err(error) => return Err(fail(error)),
        }
    }
    Err(transfer_error(
        UPLOAD,
        path,
        TransferReason::Other,
        "its symbolic links lead to each other; remove one of them",
    ))
}

impl Kept {
    /// What a regular file passes on. Writing to a file removes its set-uid and set-gid bits.
    fn from_attributes(attributes: &FileAttributes) -> Self {
        Self {
            mode: attributes.permissions.map(|mode| mode & 0o777),
            owner: attributes.uid.zip(attributes.gid),
        }
    }
}
