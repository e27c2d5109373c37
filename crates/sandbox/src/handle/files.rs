//! Operations on single files inside a sandbox.

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{
    Direction, DownloadRequest, Error, FileInfo, FileKind, FilePath, ListBudget, Result, Session,
    TransferReason, UploadRequest,
};

use super::Sandbox;
use crate::memory::MemoryWriter;

impl Sandbox {
    /// Returns the file operations of the sandbox. Paths are absolute, or relative to the home
    /// directory.
    pub fn files(&self) -> Files<'_> {
        Files { sandbox: self }
    }
}

/// File operations inside a sandbox, similar to `std::fs`. Created by [`Sandbox::files`].
///
/// Paths are absolute, or relative to the home directory: `&str`, or anything else that a
/// [`FilePath`] can be made from, because names need not be UTF-8. Errors are
/// [`Error::Transfer`](crate::Error::Transfer), with the path and the reason.
///
/// ```no_run
/// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
/// let files = sbx.files();
/// files.create_dir_all("data/in").await?;
/// files.write("data/in/a.txt", "hello").await?;
/// assert_eq!(files.read_to_string("data/in/a.txt").await?, "hello");
/// for entry in files.list("data/in").await? {
///     println!("{} {} bytes", entry.name, entry.size);
/// }
/// files.remove_dir_all("data").await
/// # }
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Files<'a> {
    sandbox: &'a Sandbox,
}

/// The largest file that `read` reads into memory: 256 MiB.
const READ_LIMIT: u64 = 256 << 20;
/// The maximum nesting depth of directories.
const MAX_DEPTH: usize = 128;
/// Concurrent requests that remove something.
const REMOVALS_AT_ONCE: usize = 64;
/// Concurrent listings of directories, few because each may have very many entries.
pub(crate) const LISTINGS_AT_ONCE: usize = 8;

impl Files<'_> {
    pub(super) fn sandbox(&self) -> &Sandbox {
        self.sandbox
    }

    fn session(&self) -> &dyn Session {
        &**self.sandbox.session()
    }

    /// Reads a file of at most 256 MiB into memory. For larger files, use [`Sandbox::download`].
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer), also for a file that is larger.
    pub async fn read(&self, path: impl Into<FilePath>) -> Result<Bytes> {
        let (writer, content) = MemoryWriter::new();
        let mut request = DownloadRequest::new(path);
        request.max_size = Some(READ_LIMIT);
        self.session().download(request, Box::new(writer)).await?;
        Ok(content.take())
    }

    /// Reads a text file of at most 256 MiB into memory.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer), also if it is not UTF-8.
    pub async fn read_to_string(&self, path: impl Into<FilePath>) -> Result<String> {
        let path = path.into();
        let content = self.read(path.clone()).await?;
        String::from_utf8(content.into()).map_err(|source| {
            let message = "not UTF-8; read the file as bytes";
            Error::transfer(
                Direction::Download,
                path,
                TransferReason::Other,
                message,
                Some(Box::new(source)),
            )
        })
    }

    /// Writes a file, replacing an existing one. The write is atomic: the file appears when it is
    /// complete.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer); an existing file is then unchanged.
    pub async fn write(&self, path: impl Into<FilePath>, content: impl Into<Bytes>) -> Result<()> {
        let content = content.into();
        let mut request = UploadRequest::new(path);
        request.size = Some(content.len() as u64);
        self.session()
            .upload(request, Box::new(std::io::Cursor::new(content)))
            .await
            .map(drop)
    }

    /// Appends to a file, which is created if it does not exist.
    ///
    /// Concurrent writers never overwrite each other: each piece is written at the end of the file
    /// at that moment. Content of at most 32,000 bytes is one piece and stays together. Pieces of
    /// longer content may be interleaved with those of other writers. A failure undoes nothing: the
    /// beginning may have been written, and a retry would write it twice.
    ///
    /// ```no_run
    /// # async fn example(sbx: sandbox::Sandbox) -> sandbox::Result<()> {
    /// sbx.files().append("log.txt", "one line\n").await?;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn append(&self, path: impl Into<FilePath>, content: impl Into<Bytes>) -> Result<()> {
        let from = Box::new(std::io::Cursor::new(content.into()));
        self.session().append(&path.into(), from).await.map(drop)
    }

    /// Lists the entries of a directory, ordered by name.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn list(&self, path: impl Into<FilePath>) -> Result<Vec<FileInfo>> {
        let mut entries = self.session().list(&path.into()).await?;
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    /// Returns information about a file. Symbolic links are followed.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn stat(&self, path: impl Into<FilePath>) -> Result<FileInfo> {
        self.session().stat(&path.into(), true).await
    }

    /// Returns whether a path exists. Symbolic links are followed.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer) if that cannot be determined.
    pub async fn exists(&self, path: impl Into<FilePath>) -> Result<bool> {
        match self.stat(path).await {
            Ok(_) => Ok(true),
            Err(Error::Transfer(error)) if error.reason == TransferReason::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Creates a directory and its parents. An existing directory is not an error.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn create_dir_all(&self, path: impl Into<FilePath>) -> Result<()> {
        self.session().create_dir(&path.into(), true).await
    }

    /// Renames a file, replacing an existing one.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn rename(&self, from: impl Into<FilePath>, to: impl Into<FilePath>) -> Result<()> {
        self.session().rename(&from.into(), &to.into()).await
    }

    /// Removes a file or a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn remove_file(&self, path: impl Into<FilePath>) -> Result<()> {
        self.session().remove_file(&path.into()).await
    }

    /// Removes a directory and everything in it. Symbolic links are removed, not followed.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer), and
    /// [`Error::Invalid`](crate::Error::Invalid) for the root directory or an empty path.
    pub async fn remove_dir_all(&self, path: impl Into<FilePath>) -> Result<()> {
        let path = path.into();
        let mut parts = path.as_bytes().split(|byte| *byte == b'/');
        if parts.all(|part| matches!(part, b"" | b"." | b"..")) {
            return Err(Error::invalid(
                "path",
                path.to_string(),
                "the root, home and parent directories cannot be removed; name a directory in them",
            ));
        }
        // Remove everything but directories, level by level. Each level holds the directories found
        // in those of the level above.
        let budget = ListBudget::default();
        let mut levels = vec![vec![path]];
        while let Some(level) = levels.last().filter(|level| !level.is_empty()) {
            if levels.len() > MAX_DEPTH {
                let message = format!("directories are nested more than {MAX_DEPTH} levels deep");
                let path = level[0].clone();
                let reason = TransferReason::Other;
                return Err(Error::transfer(
                    Direction::Inside,
                    path,
                    reason,
                    message,
                    None,
                ));
            }
            let removing = stream::iter(level.clone())
                .map(|directory| self.remove_entries(directory, &budget));
            let next = removing
                .buffer_unordered(LISTINGS_AT_ONCE)
                .try_concat()
                .await?;
            levels.push(next);
        }
        // Remove the directories, which are empty now, beginning with the deepest.
        for level in levels.into_iter().rev() {
            let removing = stream::iter(level).map(|directory| self.remove_dir(directory));
            removing
                .buffer_unordered(REMOVALS_AT_ONCE)
                .try_collect::<()>()
                .await?;
        }
        Ok(())
    }

    /// Removes everything in a directory except directories, and returns those.
    async fn remove_entries(
        self,
        directory: FilePath,
        budget: &ListBudget,
    ) -> Result<Vec<FilePath>> {
        let entries = self.session().list_within(&directory, budget).await?;
        let path_of = |entry: &FileInfo| directory.join(&entry.name);
        let (directories, others): (Vec<_>, Vec<_>) = entries
            .iter()
            .partition(|entry| entry.kind == FileKind::Directory);
        let removed = others.len() as u64;
        let name_bytes = others.iter().map(|entry| entry.name.len() as u64).sum();
        let others: Vec<_> = others.into_iter().map(path_of).collect();
        let removing = stream::iter(others).map(|path| async move { self.remove_file(path).await });
        removing
            .buffer_unordered(REMOVALS_AT_ONCE)
            .try_collect::<()>()
            .await?;
        // A tree may have any number of files, though not at once.
        budget.give_back(removed, name_bytes);
        Ok(directories.into_iter().map(path_of).collect())
    }

    async fn remove_dir(self, path: FilePath) -> Result<()> {
        self.session().remove_dir(&path).await
    }

    /// Sets the permission bits, such as `0o755`.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn set_mode(&self, path: impl Into<FilePath>, mode: u32) -> Result<()> {
        self.session().set_mode(&path.into(), mode).await
    }

    /// Creates a symbolic link at `path` that points to `target`.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn symlink(
        &self,
        target: impl Into<FilePath>,
        path: impl Into<FilePath>,
    ) -> Result<()> {
        self.session().symlink(&target.into(), &path.into()).await
    }

    /// Reads the target of a symbolic link.
    ///
    /// # Errors
    ///
    /// [`Error::Transfer`](crate::Error::Transfer).
    pub async fn read_link(&self, path: impl Into<FilePath>) -> Result<FilePath> {
        self.session().read_link(&path.into()).await
    }
}
