//! The files that OpenSSH's tools read for each sandbox: `~/.ssh/sandbox/<id>/`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sandbox::{Access, Client, ListFilter, SandboxId};

use crate::openssh::block::{self, Block, host_name};
use crate::openssh::client;

/// The directory `~/.ssh/sandbox`. It has a directory for each sandbox, with `config`, `key` and
/// `known_hosts`.
pub(crate) struct SshFiles {
    /// `~/.ssh`
    ssh: PathBuf,
    /// `~/.ssh/sandbox`
    top: PathBuf,
}

impl SshFiles {
    /// Uses the directory in the user's home.
    ///
    /// # Errors
    ///
    /// If there is no home directory.
    pub(crate) fn from_home() -> Result<Self> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let ssh = home
            .context("there is no home directory to keep keys in; set HOME")?
            .join(".ssh");
        Ok(Self {
            top: ssh.join("sandbox"),
            ssh,
        })
    }

    /// `~/.ssh/config`
    pub(super) fn user_config_path(&self) -> PathBuf {
        self.ssh.join("config")
    }

    /// The pattern that matches the blocks of all sandboxes.
    pub(super) fn block_pattern(&self) -> PathBuf {
        self.top.join("*").join("config")
    }

    /// The block of one sandbox.
    fn block_path(&self, name: &str) -> PathBuf {
        self.top.join(name).join("config")
    }

    /// The file whose existence says that the user's configuration includes the blocks.
    fn marker_path(&self) -> PathBuf {
        self.top.join(".installed")
    }

    /// Writes the files of a sandbox. Returns the path of its block.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(crate) fn write(&self, client: &Client, access: &Access) -> Result<PathBuf> {
        let host = host_name(&access.id);
        let directory = self.top.join(access.id.as_str());
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let block = Block {
            host: &host,
            access,
            directory: &directory,
            program: &program,
            environment: client.environment(),
            keywords: client::supported_keywords(),
        };
        let text = block.format(&block::format_environment(client))?;
        self.create_directories()?;
        create_private_directory(&directory)?;
        write_private_file(&directory.join("key"), access.client_key.expose())?;
        write_private_file(
            &directory.join("known_hosts"),
            &format!("{host} {}\n", access.host_key),
        )?;
        // The block is written last, so that there is none without a key.
        write_private_file(&directory.join("config"), &text)?;
        Ok(directory.join("config"))
    }

    /// Writes the files of a sandbox if the user's configuration includes the blocks.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and if the sandbox's access cannot be read.
    pub(crate) async fn write_if_installed(&self, client: &Client, id: &SandboxId) -> Result<()> {
        if self.marker_path().exists() {
            self.write(client, &client.access(id).await?)?;
        }
        Ok(())
    }

    /// Removes the files of a deleted sandbox. Files of a sandbox with the same id in another
    /// environment are kept.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or removed.
    pub(crate) fn remove_deleted(&self, client: &Client, id: &SandboxId) -> Result<()> {
        match self.find_other_environment(client, id)? {
            Some(_environment) => Ok(()),
            None => self.remove(id),
        }
    }

    /// Returns the environment of the block with this id if it is not the client's.
    ///
    /// # Errors
    ///
    /// If the block cannot be read.
    pub(crate) fn find_other_environment(
        &self,
        client: &Client,
        id: &SandboxId,
    ) -> Result<Option<String>> {
        let path = self.block_path(id.as_str());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(block::read_environment(&text)
            .filter(|environment| *environment != block::format_environment(client))
            .map(str::to_owned))
    }

    /// Removes the files of one sandbox.
    fn remove(&self, id: &SandboxId) -> Result<()> {
        remove_directory(&self.top.join(id.as_str()))
    }

    /// Removes the files of sandboxes in the client's environment that no longer exist.
    ///
    /// # Errors
    ///
    /// If the sandboxes cannot be listed, or a file cannot be removed.
    pub(crate) async fn remove_stale(&self, client: &Client) -> Result<()> {
        let written = self.find_written(&block::format_environment(client))?;
        if written.is_empty() {
            return Ok(());
        }
        let existing: Vec<SandboxId> = client
            .list(ListFilter::default())
            .await?
            .into_iter()
            .map(|info| info.id)
            .collect();
        written
            .iter()
            .filter(|id| !existing.contains(id))
            .try_for_each(|id| self.remove(id))
    }

    /// Removes the files of all sandboxes.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub(super) fn remove_all(&self) -> Result<()> {
        remove_directory(&self.top)
    }

    /// Records that the user's configuration includes the blocks, so that those of new sandboxes
    /// are written, too.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub(super) fn mark_installed(&self) -> Result<()> {
        self.create_directories()?;
        write_private_file(&self.marker_path(), "")
    }

    /// Creates `~/.ssh` and `~/.ssh/sandbox`.
    ///
    /// # Errors
    ///
    /// If a directory cannot be created.
    pub(super) fn create_directories(&self) -> Result<()> {
        create_private_directory(&self.ssh)?;
        create_private_directory(&self.top)
    }

    /// Finds the sandboxes whose blocks were written for this environment.
    fn find_written(&self, environment: &str) -> Result<Vec<SandboxId>> {
        let entries = match fs::read_dir(&self.top) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {}", self.top.display()))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry
                .with_context(|| format!("cannot read {}", self.top.display()))?
                .file_name();
            // Other files of the user are ignored.
            let Some(id) = name
                .to_str()
                .and_then(|name| name.parse::<SandboxId>().ok())
            else {
                continue;
            };
            let Ok(text) = fs::read_to_string(self.block_path(id.as_str())) else {
                continue;
            };
            if block::read_environment(&text) == Some(environment) {
                found.push(id);
            }
        }
        Ok(found)
    }
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

fn create_private_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        created => created.with_context(|| format!("cannot create {}", path.display())),
    }
}

/// Replaces a file atomically: a reader gets the old or the new content.
///
/// # Errors
///
/// If the file cannot be written.
pub(super) fn write_private_file(path: &Path, content: &str) -> Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        // A killed process with the same pid may have left one.
        match fs::remove_file(&temporary) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut options = fs::OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
        options.open(&temporary)?.write_all(content.as_bytes())?;
        fs::rename(&temporary, path)
    };
    write().with_context(|| format!("cannot write {}", path.display()))
}
