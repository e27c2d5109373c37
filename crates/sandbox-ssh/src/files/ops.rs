//! Everything about files but their content.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use futures_util::future::join_all;
use russh_sftp::client::error::Error as SftpError;
use russh_sftp::protocol::{FileAttributes, StatusCode};
use sandbox_core::{Direction, Error, FileInfo, FileKind, Result, TransferReason};

use super::failure::fault;
use super::handle::{self, Target};
use super::hub::Hub;
use super::names::{check_answer, check_entry, check_path};
use super::requests::strings;
use super::sftp::Sftp;

const INSIDE: Direction = Direction::Inside;
/// The most entries of one directory, and the most bytes of their names.
const ENTRIES: usize = 1_000_000;
const NAME_BYTES: usize = 256 << 20;

/// File operations on one session.
pub(crate) struct Files<'a>(pub(crate) &'a Hub);

impl Files<'_> {
    /// Checks the path and gives the session.
    async fn at(&self, path: &str) -> Result<Arc<Sftp>> {
        check_path(path, INSIDE)?;
        self.0.session().await
    }

    pub(crate) async fn stat(&self, path: &str, follow: bool) -> Result<FileInfo> {
        let sftp = self.at(path).await?;
        let attributes = if follow {
            sftp.call(sftp.wire.stat(path)).await
        } else {
            sftp.call(sftp.wire.lstat(path)).await
        };
        Ok(info(
            path,
            &attributes.map_err(|error| sftp.failed(INSIDE, path, error))?,
        ))
    }

    pub(crate) async fn list(&self, path: &str) -> Result<Vec<FileInfo>> {
        let sftp = self.at(path).await?;
        let fail = |error| sftp.failed(INSIDE, path, error);
        let directory = handle::open(&sftp, Target::Directory(path.to_owned()))
            .await
            .map_err(fail)?;
        let (mut entries, mut bytes) = (Vec::new(), 0);
        // Two at once: most directories are told in one answer, and the next is their end.
        let mut answers = VecDeque::new();
        loop {
            if answers.is_empty() {
                let read = || sftp.wire.readdir(directory.id());
                let both = async { Ok(tokio::join!(read(), read())) };
                answers.extend(<[_; 2]>::from(sftp.call(both).await.map_err(fail)?));
            }
            let batch = match answers.pop_front() {
                Some(Ok(batch)) => batch,
                Some(Err(SftpError::Status(status))) if status.status_code == StatusCode::Eof => {
                    break;
                }
                Some(Err(error)) => return Err(fail(error)),
                None => continue,
            };
            if batch.is_empty() {
                return Err(fault(
                    INSIDE,
                    path,
                    TransferReason::Other,
                    "the server's listing makes no sense",
                ));
            }
            for file in batch {
                bytes += file.filename.len();
                if entries.len() >= ENTRIES || bytes > NAME_BYTES {
                    let message = format!(
                        "it has more than {ENTRIES} entries; list it with a command instead"
                    );
                    return Err(fault(INSIDE, path, TransferReason::TooLarge, message));
                }
                if file.filename == "." || file.filename == ".." {
                    continue;
                }
                check_entry(path, &file.filename)?;
                entries.push(info(&file.filename, &file.attrs));
            }
        }
        Ok(entries)
    }

    pub(crate) async fn create_dir(&self, path: &str, parents: bool) -> Result<()> {
        let sftp = self.at(path).await?;
        if !parents {
            return match sftp.call(sftp.wire.mkdir(path)).await {
                Ok(_) => Ok(()),
                Err(error) => Err(exists_or(&sftp, path, error).await),
            };
        }
        // All at once, for a server takes requests in order; those that are there fail.
        let made = join_all(ancestors(path).map(|dir| sftp.call(sftp.wire.mkdir(dir)))).await;
        match sftp.call(sftp.wire.stat(path)).await {
            Ok(found) if kind(&found) == FileKind::Directory => Ok(()),
            Ok(_) => Err(fault(
                INSIDE,
                path,
                TransferReason::AlreadyExists,
                "it exists and is no directory",
            )),
            Err(missing) => {
                // The last failure says why; an earlier one may only be that it is there.
                let why = made
                    .into_iter()
                    .rev()
                    .find_map(|result| result.err())
                    .unwrap_or(missing);
                Err(sftp.failed(INSIDE, path, why))
            }
        }
    }

    pub(crate) async fn rename(&self, from: &str, to: &str) -> Result<()> {
        check_path(to, INSIDE)?;
        let sftp = self.at(from).await?;
        replace(&sftp, from, to)
            .await
            .map_err(|error| sftp.failed(INSIDE, from, error))
    }

    pub(crate) async fn remove_file(&self, path: &str) -> Result<()> {
        let sftp = self.at(path).await?;
        sftp.call(sftp.wire.remove(path))
            .await
            .map_err(|error| sftp.failed(INSIDE, path, error))
    }

    pub(crate) async fn remove_dir(&self, path: &str) -> Result<()> {
        let sftp = self.at(path).await?;
        sftp.call(sftp.wire.rmdir(path))
            .await
            .map_err(|error| sftp.failed(INSIDE, path, error))
    }

    pub(crate) async fn set_mode(&self, path: &str, mode: u32) -> Result<()> {
        let sftp = self.at(path).await?;
        let attributes = FileAttributes {
            permissions: Some(mode & 0o7777),
            ..FileAttributes::empty()
        };
        sftp.call(sftp.wire.setstat(path, attributes))
            .await
            .map_err(|error| sftp.failed(INSIDE, path, error))
    }

    pub(crate) async fn symlink(&self, target: &str, path: &str) -> Result<()> {
        check_path(target, INSIDE)?;
        let sftp = self.at(path).await?;
        match sftp.call(sftp.wire.symlink(target, path)).await {
            Ok(_) => Ok(()),
            Err(error) => Err(exists_or(&sftp, path, error).await),
        }
    }

    pub(crate) async fn read_link(&self, path: &str) -> Result<String> {
        let sftp = self.at(path).await?;
        let name = sftp
            .call(sftp.wire.readlink(path))
            .await
            .map_err(|error| sftp.failed(INSIDE, path, error))?;
        only(path, name)
    }

    pub(crate) async fn canonicalize(&self, path: &str) -> Result<String> {
        let sftp = self.at(path).await?;
        let name = sftp
            .call(sftp.wire.realpath(path))
            .await
            .map_err(|error| sftp.failed(INSIDE, path, error))?;
        only(path, name)
    }
}

/// Gives a file another name, in place of a file that has it; in one step where the server
/// can.
pub(super) async fn replace(sftp: &Sftp, from: &str, to: &str) -> Result<(), SftpError> {
    if sftp.posix_rename {
        return sftp
            .call(
                sftp.wire
                    .extended_do("posix-rename@openssh.com", strings([from, to])?),
            )
            .await;
    }
    match sftp.call(sftp.wire.rename(from, to)).await {
        // By the draft it fails when the target exists.
        Err(SftpError::Status(_)) if is_file(sftp, to).await => {
            sftp.call(sftp.wire.remove(to)).await?;
            sftp.call(sftp.wire.rename(from, to)).await
        }
        result => result,
    }
}

async fn is_file(sftp: &Sftp, path: &str) -> bool {
    sftp.call(sftp.wire.lstat(path))
        .await
        .is_ok_and(|found| kind(&found) != FileKind::Directory)
}

/// Servers do not say that something failed because it exists.
async fn exists_or(sftp: &Sftp, path: &str, error: SftpError) -> Error {
    match error {
        SftpError::Status(status)
            if status.status_code == StatusCode::Failure
                && sftp.call(sftp.wire.lstat(path)).await.is_ok() =>
        {
            fault(
                INSIDE,
                path,
                TransferReason::AlreadyExists,
                "it exists already",
            )
        }
        error => sftp.failed(INSIDE, path, error),
    }
}

fn only(path: &str, files: Vec<russh_sftp::protocol::File>) -> Result<String> {
    let [file] = <[_; 1]>::try_from(files).map_err(|_| {
        fault(
            INSIDE,
            path,
            TransferReason::Other,
            "the server's answer makes no sense",
        )
    })?;
    check_answer(path, &file.filename)?;
    Ok(file.filename)
}

fn info(name: &str, attributes: &FileAttributes) -> FileInfo {
    let modified = attributes
        .mtime
        .map(|seconds| UNIX_EPOCH + Duration::from_secs(u64::from(seconds)));
    let mode = attributes.permissions.unwrap_or(0) & 0o7777;
    FileInfo::new(
        name,
        kind(attributes),
        attributes.size.unwrap_or(0),
        mode,
        modified,
    )
}

pub(super) fn kind(attributes: &FileAttributes) -> FileKind {
    match attributes.permissions.unwrap_or(0) & 0o170_000 {
        0o100_000 => FileKind::File,
        0o040_000 => FileKind::Directory,
        0o120_000 => FileKind::Symlink,
        _ => FileKind::Other,
    }
}

/// A directory and those above it, the topmost first.
fn ancestors(path: &str) -> impl Iterator<Item = &str> {
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
    fn directories_are_made_from_the_top() {
        let all = |path| ancestors(path).collect::<Vec<_>>();
        assert_eq!(all("a"), ["a"]);
        assert_eq!(all("a/b/c"), ["a", "a/b", "a/b/c"]);
        assert_eq!(all("/a//b/"), ["/a", "/a//b"]);
    }
}
