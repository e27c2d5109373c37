//! File operations other than transfers of content.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::join_all;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, StatusCode};
use sandbox_core::{Direction, Error, FileInfo, FileKind, Result, TransferReason};

use super::file_names::{check_entry, check_path, check_returned_path};
use crate::sftp::{OpenMode, RemoteFile, Sftp, SftpPool, file_kind, transfer_error};

const INSIDE: Direction = Direction::Inside;
/// The most entries of one directory.
const MAX_ENTRIES: usize = 1_000_000;
/// The most bytes of the names in one directory.
const MAX_NAME_BYTES: usize = 256 << 20;

/// File operations in one sandbox.
pub(crate) struct FileOps<'a>(pub(crate) &'a SftpPool);

impl FileOps<'_> {
    /// Checks the path and returns the session.
    async fn session_for(&self, path: &str) -> Result<Arc<Sftp>> {
        check_path(path, INSIDE)?;
        self.0.session().await
    }

    pub(crate) async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo> {
        let sftp = self.session_for(path).await?;
        let attributes = if follow {
            sftp.call(sftp.wire.stat(path)).await
        } else {
            sftp.call(sftp.wire.lstat(path)).await
        };
        Ok(file_info(
            path,
            &attributes.map_err(|error| sftp.report_failure(INSIDE, path, error))?,
        ))
    }

    pub(crate) async fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        let sftp = self.session_for(path).await?;
        let fail = |error| sftp.report_failure(INSIDE, path, error);
        let directory = RemoteFile::open(&sftp, OpenMode::Directory(path.to_owned()))
            .await
            .map_err(fail)?;
        let mut entries = Vec::new();
        let mut bytes = 0;
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
                bytes += file.filename.len();
                if entries.len() >= MAX_ENTRIES || bytes > MAX_NAME_BYTES {
                    let message = format!(
                        "it has more than {MAX_ENTRIES} entries; list it with a command instead"
                    );
                    return Err(transfer_error(
                        INSIDE,
                        path,
                        TransferReason::TooLarge,
                        message,
                    ));
                }
                if file.filename == "." || file.filename == ".." {
                    continue;
                }
                check_entry(path, &file.filename)?;
                entries.push(file_info(&file.filename, &file.attrs));
            }
        }
        Ok(entries)
    }

    pub(crate) async fn create_dir(&self, path: &str, parents: bool) -> Result<()> {
        let sftp = self.session_for(path).await?;
        if !parents {
            return match sftp.call(sftp.wire.mkdir(path)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(report_exists_or(&sftp, path, error).await),
            };
        }
        // All are created at once, because a server handles requests in order. Creating a directory
        // that exists fails, which does not matter.
        let created =
            join_all(path_prefixes(path).map(|dir| sftp.call(sftp.wire.mkdir(dir)))).await;
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

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_path(to, INSIDE)?;
        let sftp = self.session_for(from).await?;
        sftp.replace(from, to)
            .await
            .map_err(|error| sftp.report_failure(INSIDE, from, error))
    }

    pub(crate) async fn remove_file(&self, path: &str) -> Result<()> {
        let sftp = self.session_for(path).await?;
        sftp.call(sftp.wire.remove(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn remove_dir(&self, path: &str) -> Result<()> {
        let sftp = self.session_for(path).await?;
        sftp.call(sftp.wire.rmdir(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn set_mode(&self, path: &str, mode: u32) -> Result<()> {
        let sftp = self.session_for(path).await?;
        let attributes = FileAttributes {
            permissions: Some(mode & 0o7777),
            ..FileAttributes::empty()
        };
        sftp.call(sftp.wire.setstat(path, attributes))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))
    }

    pub(crate) async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        check_path(target, INSIDE)?;
        let sftp = self.session_for(path).await?;
        match sftp.call(sftp.wire.symlink(target, path)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(report_exists_or(&sftp, path, error).await),
        }
    }

    pub(crate) async fn read_link(&self, path: &str) -> Result<String> {
        let sftp = self.session_for(path).await?;
        let name = sftp
            .call(sftp.wire.readlink(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))?;
        single_path(path, name)
    }

    pub(crate) async fn canonicalize(&self, path: &str) -> Result<String> {
        let sftp = self.session_for(path).await?;
        let name = sftp
            .call(sftp.wire.realpath(path))
            .await
            .map_err(|error| sftp.report_failure(INSIDE, path, error))?;
        single_path(path, name)
    }
}

/// Reports a failed creation. Servers do not report that the target exists.
async fn report_exists_or(sftp: &Sftp, path: &str, error: SftpError) -> Error {
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

fn single_path(path: &str, files: Vec<russh_sftp::protocol::File>) -> Result<String> {
    let [file] = <[_; 1]>::try_from(files).map_err(|_| {
        transfer_error(
            INSIDE,
            path,
            TransferReason::Other,
            "unexpected SFTP response",
        )
    })?;
    check_returned_path(path, &file.filename)?;
    Ok(file.filename)
}

fn file_info(name: &str, attributes: &FileAttributes) -> FileInfo {
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
fn path_prefixes(path: &str) -> impl Iterator<Item = &str> {
    let ends = path
        .char_indices()
        .filter(|(at, character)| *character == '/' && *at > 0)
        .map(|(at, _)| at);
    ends.chain([path.len()])
        .map(|end| &path[..end])
        .filter(|part| !part.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directories_are_created_from_the_top() {
        let all = |path| path_prefixes(path).collect::<Vec<_>>();
        assert_eq!(all("a"), ["a"]);
        assert_eq!(all("a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(all("/a//b/"), ["/a", "/a//b"]);
    }
}
