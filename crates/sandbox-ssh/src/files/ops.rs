//! File operations other than transfers of content.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use futures_util::future::join_all;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, StatusCode};
use sandbox_core::{
    Direction, Error, FileInfo, FileKind, FilePath, ListBudget, Result, TransferReason,
};

use super::file_names::{check_entry, check_path, check_returned_path};
use crate::sftp::{
    NamedFile, OpenMode, RemoteFile, Sftp, SftpPool, file_kind, sftp_seconds, transfer_error,
};

const INSIDE: Direction = Direction::Inside;

/// File operations in one sandbox.
pub(crate) struct FileOps<'a>(pub(crate) &'a SftpPool);

impl FileOps<'_> {
    /// Checks the path and returns the session.
    async fn session_for(&self, path: &FilePath) -> Result<Arc<Sftp>> {
        check_path(path, INSIDE)?;
        self.0.session().await
    }

    pub(crate) async fn stat(&self, path: &FilePath, follow: bool) -> Result<FileInfo> {
        let sftp = self.session_for(path).await?;
        let attributes = if follow {
            sftp.call(sftp.wire.stat(path)).await
        } else {
            sftp.call(sftp.wire.lstat(path)).await
        };
        Ok(file_info(
            path.clone(),
            &attributes.map_err(|error| sftp.report_failure(INSIDE, path, error))?,
        ))
    }

    pub(crate) async fn list(&self, path: &FilePath, budget: &ListBudget) -> Result<Vec<FileInfo>> {
        let sftp = self.session_for(path).await?;
        let fail = |error| sftp.report_failure(INSIDE, path, error);
        let directory = RemoteFile::open(&sftp, OpenMode::Directory(path.clone()))
            .await
            .map_err(fail)?;
        let mut entries = Vec::new();
        let mut dots = 0;
        // Two requests at once: the response to the first has all of most directories, and the second
        // response is the end.
        let mut responses = VecDeque::new();
        loop {
            if responses.is_empty() {
                let read = || sftp.wire.readdir(directory.handle());
                let both = async { Ok(tokio::join!(read(), read())) };
                responses.extend(<[_; 2]>::from(sftp.call(both).await.map_err(fail)?));
            }
            let batch = match responses.pop_front() {
                Some(Ok(batch)) => batch,
                Some(Err(SftpError::Status(status))) if status.status_code == StatusCode::Eof => {
                    break;
                }
                Some(Err(error)) => return Err(fail(error)),
                None => continue,
            };
            if batch.is_empty() {
                return Err(transfer_error(
                    INSIDE,
                    path,
                    TransferReason::Other,
                    "unexpected SFTP response: a listing without entries",
                ));
            }
            for file in batch {
                if file.name == "." || file.name == ".." {
                    // More of them would be a listing without an end.
                    dots += 1;
                    if dots > 2 {
                        return Err(transfer_error(
                            INSIDE,
                            path,
                            TransferReason::Other,
                            "unexpected SFTP response: a listing with `.` or `..` more than once",
                        ));
                    }
                    continue;
                }
                check_entry(path, &file.name)?;
                if !budget.take(1, file.name.len() as u64) {
                    return Err(ListBudget::exceeded_error(path));
                }
                entries.push(file_info(file.name, &file.attributes));
            }
        }
        Ok(entries)
    }

    pub(crate) async fn create_dir(&self, path: &FilePath, parents: bool) -> Result<()> {
        let sftp = self.session_for(path).await?;
        if !parents {
            return match sftp.call(sftp.wire.mkdir(path)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(report_exists_or(&sftp, path, error).await),
            };
        }
        // All are created at once, because a server handles requests in order. Creating a directory
        // that exists fails, which does not matter.
        let created = join_all(
            path_prefixes(path)
                .iter()
                .map(|dir| sftp.call(sftp.wire.mkdir(dir))),
        )
        .await;
        match sftp.call(sftp.wire.stat(path)).await {
            Ok(found) if file_kind(&found) == FileKind::Directory => Ok(()),
            Ok(_) => Err(transfer_error(
                INSIDE,
                path,
                TransferReason::AlreadyExists,
                "it exists and is not a directory",
            )),
            Err(missing) => {
                // The last failure is the reason; an earlier directory may merely exist.
                let why = created
                    .into_iter()
                    .rev()
                    .find_map(|result| result.err())
                    .unwrap_or(missing);
                Err(sftp.report_failure(INSIDE, path, why))
            }
        }
    }

    pub(crate) async fn rename(&self, from: &FilePath, to: &FilePath) -> Result<()> {
        check_path(to, INSIDE)?;
        let sftp = self.session_for(from).await?;
        sftp.replace(from, to)
            .await
            .map_err(|error| sftp.report_failure(INSIDE, from, error))
    }

    pub(crate) async fn remove_file(&self, path: &FilePath) -> Result<()> {
        let sftp = self.session_for(path).await?;
        sftp.call(sftp.wire.remove(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn remove_dir(&self, path: &FilePath) -> Result<()> {
        let sftp = self.session_for(path).await?;
        sftp.call(sftp.wire.rmdir(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn set_attributes(
        &self,
        path: &FilePath,
        mode: Option<u32>,
        modified: Option<SystemTime>,
    ) -> Result<()> {
        let sftp = self.session_for(path).await?;
        let seconds = modified.map(sftp_seconds);
        let attributes = FileAttributes {
            permissions: mode.map(|mode| mode & 0o7777),
            atime: seconds,
            mtime: seconds,
            ..FileAttributes::empty()
        };
        sftp.call(sftp.wire.setstat(path, attributes))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn symlink(&self, target: &FilePath, path: &FilePath) -> Result<()> {
        check_path(target, INSIDE)?;
        let sftp = self.session_for(path).await?;
        match sftp.call(sftp.wire.symlink(target, path)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(report_exists_or(&sftp, path, error).await),
        }
    }

    pub(crate) async fn read_link(&self, path: &FilePath) -> Result<FilePath> {
        let sftp = self.session_for(path).await?;
        let name = sftp
            .call(sftp.wire.readlink(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))?;
        single_path(path, name)
    }

    pub(crate) async fn canonicalize(&self, path: &FilePath) -> Result<FilePath> {
        let sftp = self.session_for(path).await?;
        let name = sftp
            .call(sftp.wire.realpath(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))?;
        single_path(path, name)
    }
}

/// Reports a failed creation. Servers do not report that the target exists.
async fn report_exists_or(sftp: &Sftp, path: &FilePath, error: SftpError) -> Error {
    match error {
        SftpError::Status(status)
            if status.status_code == StatusCode::Failure
                && sftp.call(sftp.wire.lstat(path)).await.is_ok() =>
        {
            transfer_error(
                INSIDE,
                path,
                TransferReason::AlreadyExists,
                "it already exists",
            )
        }
        error => sftp.report_failure(INSIDE, path, error),
    }
}

pub(super) fn single_path(path: &FilePath, files: Vec<NamedFile>) -> Result<FilePath> {
    let [file] = <[_; 1]>::try_from(files).map_err(|_| {
        transfer_error(
            INSIDE,
            path,
            TransferReason::Other,
            "unexpected SFTP response",
        )
    })?;
    check_returned_path(path, &file.name)?;
    Ok(file.name)
}

fn file_info(name: FilePath, attributes: &FileAttributes) -> FileInfo {
    let modified = attributes
        .mtime
        .map(|seconds| UNIX_EPOCH + Duration::from_secs(u64::from(seconds)));
    let mode = attributes.permissions.unwrap_or(0) & 0o7777;
    FileInfo::new(
        name,
        file_kind(attributes),
        attributes.size.unwrap_or(0),
        mode,
        modified,
    )
}

/// A directory and its ancestors, the topmost first.
fn path_prefixes(path: &FilePath) -> Vec<FilePath> {
    let bytes = path.as_bytes();
    let ends = (1..bytes.len()).filter(|at| bytes[*at] == b'/');
    ends.chain([bytes.len()])
        .map(|end| &bytes[..end])
        .filter(|part| !part.ends_with(b"/"))
        .map(FilePath::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_created_from_the_top() {
        let all = |path: &[u8]| path_prefixes(&FilePath::from(path));
        assert_eq!(all(b"a"), ["a"]);
        assert_eq!(all(b"a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(all(b"/a//b/"), ["/a", "/a//b"]);
        assert_eq!(all(b"\xe9/\xff")[0], FilePath::from(b"\xe9"));
    }
}
