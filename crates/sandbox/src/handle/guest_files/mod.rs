//! File operations that SFTP has no request for.

pub(crate) mod content;
mod replies;
pub(crate) mod watching;

use std::collections::BTreeMap;

use sandbox_core::guest::{
    Done, FileEntry, FileRequest, GuestRequest, SandboxRequest, Usage, Written,
};
use sandbox_core::{FilePath, GuestChannel, ListBudget, Result};
use serde::de::DeserializeOwned;

use self::content::{AttributeChange, GuestReader, GuestWriter};
use self::replies::{check_listed, entry_size, next_listed, next_message};
use super::Sandbox;

impl Sandbox {
    /// Returns the file operations of sandbox-sshd, which other servers do not have.
    pub fn guest_files(&self) -> GuestFiles<'_> {
        GuestFiles {
            sandbox: self,
            user: None,
        }
    }

    /// Returns what the sandbox uses of its processors, memory and disk, as its control group says, or
    /// else the sum of its processes. It takes up to a tenth of a second, because the use of processors
    /// is measured.
    ///
    /// # Errors
    ///
    /// As those of [`GuestFiles`].
    pub async fn usage(&self) -> Result<Usage> {
        self.ask_server(SandboxRequest::Usage).await
    }

    /// Returns the variables that a command gets, with those that were set for the sandbox, and without
    /// those that this handle alone sends with its commands. They come from the sandbox, so they are untrusted.
    ///
    /// # Errors
    ///
    /// As those of [`GuestFiles`].
    pub async fn environment(&self) -> Result<BTreeMap<FilePath, FilePath>> {
        self.ask_server(SandboxRequest::Environment).await
    }

    async fn ask_server<T: DeserializeOwned>(&self, request: SandboxRequest) -> Result<T> {
        let channel = self.session().open_guest().await?;
        let reply = channel.call(&GuestRequest::Sandbox(request)).await;
        self.inner.diagnoser.diagnose_result(reply).await
    }
}

/// File operations of sandbox-sshd: with the names of owners, with extended attributes, in place, with whole
/// trees in one request, and with the events of inotify(7). Created by [`Sandbox::guest_files`].
///
/// [`Files`](crate::Files) has the operations that every SSH server has, and writes atomically. Here a file is
/// written *in place*: readers see it grow, and what holds it open keeps the same file. Paths are absolute, or
/// relative to the home directory; `~` and `~/…` are the home directory, too.
///
/// Dropping a future cancels the operation; what it has changed by then stays changed.
///
/// # Errors
///
/// [`Error::Refused`](crate::Error::Refused), with a [code](crate::RefusalCode) and a message of the sandbox's server, both
/// untrusted; [`Error::Unsupported`](crate::Error::Unsupported) with another server, or one of a version without these operations;
/// [`Error::Connection`](crate::Error::Connection), also if what arrives violates the protocol.
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let files = sbx.guest_files();
/// files.write("data/log.txt", "hello").await?;
/// for entry in files.list("data", 1).await? {
///     println!("{} {} {} bytes", entry.owner, entry.path, entry.size);
/// }
/// files.remove("data").await
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct GuestFiles<'a> {
    sandbox: &'a Sandbox,
    /// If it is not the user of the sandbox's server.
    user: Option<&'a str>,
}

impl<'a> GuestFiles<'a> {
    /// Carries out operations for a user, named as in `/etc/passwd` or by number: relative paths begin at the user's home
    /// directory, and the user owns the files and directories that are created, among them missing parents. What exists
    /// keeps its owner, and files are accessed with the permissions of the sandbox's server.
    ///
    /// # Errors
    ///
    /// Those of [`GuestFiles`], by the operation: the code is [`UnknownUser`](crate::RefusalCode::UnknownUser), or
    /// [`PermissionDenied`](crate::RefusalCode::PermissionDenied) for another user than the server's if the server is not
    /// root.
    #[must_use]
    pub fn as_user(self, user: &'a str) -> Self {
        Self {
            user: Some(user),
            ..self
        }
    }
}

impl GuestFiles<'_> {
    /// Describes a file. A symbolic link is described itself; where it leads is in
    /// [`target`](FileEntry::target).
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`].
    pub async fn stat(&self, path: impl Into<FilePath>) -> Result<FileEntry> {
        self.call(FileRequest::Stat { path: path.into() }).await
    }

    /// Lists a directory, and those below it down to `depth` levels; 1 is its own entries. Each entry comes
    /// before what is in it, in the order of the bytes of their names. Links to directories are not entered,
    /// except `path` itself. What vanishes meanwhile is left out.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`], and [`Error::Transfer`](crate::Error::Transfer) for more entries than the default [`ListBudget`] allows,
    /// or dangerous names.
    pub async fn list(&self, path: impl Into<FilePath>, depth: u32) -> Result<Vec<FileEntry>> {
        let path = path.into();
        let mut channel = self
            .open(FileRequest::List {
                path: path.clone(),
                depth,
            })
            .await?;
        let budget = ListBudget::default();
        let mut entries = Vec::new();
        while let Some(entry) = self.diagnose(next_listed(&mut channel).await).await? {
            if !budget.take(1, entry_size(&entry)) {
                return Err(ListBudget::exceeded_error(path));
            }
            check_listed(&entry)?;
            entries.push(entry);
        }
        Ok(entries)
    }

    /// Creates a directory with mode 0o755, and its parents.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]; the code is [`AlreadyExists`](crate::RefusalCode::AlreadyExists) for a directory
    /// that exists, and [`NotADirectory`](crate::RefusalCode::NotADirectory) for another file.
    pub async fn create_dir(&self, path: impl Into<FilePath>) -> Result<FileEntry> {
        self.call(FileRequest::MakeDir { path: path.into() }).await
    }

    /// Renames a file or directory, replacing what rename(2) replaces, and creates the parents of the new
    /// path. Returns what is at the new path.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`].
    pub async fn rename(
        &self,
        from: impl Into<FilePath>,
        to: impl Into<FilePath>,
    ) -> Result<FileEntry> {
        self.call(FileRequest::Move {
            from: from.into(),
            to: to.into(),
        })
        .await
    }

    /// Removes a file, or a directory with everything in it, however long that takes. Links are removed, not
    /// followed. A path that does not exist is no error.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]. What was removed by then stays removed.
    pub async fn remove(&self, path: impl Into<FilePath>) -> Result<()> {
        let mut channel = self.open(FileRequest::Remove { path: path.into() }).await?;
        let Done { .. } = self.diagnose(next_message(&mut channel).await).await?;
        Ok(())
    }

    /// Reads a file from byte `offset` to its end, or at most `length` bytes, whatever its size says. A file
    /// in `/proc` has size 0, for example, and a log grows.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]. A directory, a FIFO and a socket are refused.
    pub async fn read(
        &self,
        path: impl Into<FilePath>,
        offset: u64,
        length: Option<u64>,
    ) -> Result<GuestReader> {
        let request = FileRequest::Read {
            path: path.into(),
            offset,
            length,
        };
        let opened = GuestReader::from_channel(self.open(request).await?, length).await;
        self.diagnose(opened).await
    }

    /// Writes a file in place, as [`writer`](Self::writer) does.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]. What has arrived by then stays.
    pub async fn write(
        &self,
        path: impl Into<FilePath>,
        content: impl AsRef<[u8]>,
    ) -> Result<Written> {
        let mut writer = self.writer(path, AttributeChange::default()).await?;
        self.diagnose(writer.write(content.as_ref()).await).await?;
        self.diagnose(writer.finish().await).await
    }

    /// Opens a file for writing in place. An existing one is emptied and keeps its owner, group and mode; a
    /// new one gets mode 0o644 less the server's umask, and its parents are created. The server opens the file
    /// when it gets to it: a refusal is returned by a later call.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`].
    pub async fn writer(
        &self,
        path: impl Into<FilePath>,
        attributes: AttributeChange,
    ) -> Result<GuestWriter> {
        let request = FileRequest::Write {
            path: path.into(),
            attributes: attributes.set,
            replace_attributes: attributes.replaced_prefix,
        };
        Ok(GuestWriter::new(self.open(request).await?))
    }

    /// Joins files to one, and removes them: nothing is transferred. The destination gets the content of all at once, as a
    /// new file that replaces one that was there, with mode 0o644 less the server's umask, and its parents are created. If
    /// anything is refused, every file stays as it was. A source that cannot be removed afterwards stays; of a link, the
    /// link is removed.
    ///
    /// # Errors
    ///
    /// See [`GuestFiles`]. Directories, special files, the destination among the sources, and more than 10,000 sources are
    /// refused, and a source that changes meanwhile.
    pub async fn compose(
        &self,
        sources: impl IntoIterator<Item = impl Into<FilePath>>,
        destination: impl Into<FilePath>,
    ) -> Result<Written> {
        let request = FileRequest::Compose {
            sources: sources.into_iter().map(Into::into).collect(),
            destination: destination.into(),
        };
        let mut channel = self.open(request).await?;
        self.diagnose(next_message(&mut channel).await).await
    }

    /// Opens a channel with this request.
    async fn open(&self, request: FileRequest) -> Result<GuestChannel> {
        let request = match self.user {
            Some(user) => FileRequest::AsUser {
                user: user.to_owned(),
                request: Box::new(request),
            },
            None => request,
        };
        let mut channel = self.sandbox.session().open_guest().await?;
        let sent = channel.request(&GuestRequest::File(request)).await;
        self.diagnose(sent).await?;
        Ok(channel)
    }

    async fn call<T: DeserializeOwned>(&self, request: FileRequest) -> Result<T> {
        let reply = self.open(request).await?.reply().await;
        self.diagnose(reply).await
    }

    async fn diagnose<T>(&self, result: Result<T>) -> Result<T> {
        self.sandbox.inner.diagnoser.diagnose_result(result).await
    }
}
