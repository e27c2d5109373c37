//! What OpenSSH's tools read of each sandbox: `~/.ssh/sandbox/<id>/`.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use sandbox::{Access, Client, ListFilter, SandboxId};

use crate::openssh::block::{self, Block, host};
use crate::openssh::client;

/// The directory, and what is in it: for each sandbox a directory with its `config`, `key` and
/// `known_hosts`.
pub(crate) struct SshFiles {
    /// `~/.ssh`
    ssh: PathBuf,
    /// `~/.ssh/sandbox`
    top: PathBuf,
}

impl SshFiles {
    /// Those of the user whose `$HOME` it is.
    ///
    /// # Errors
    ///
    /// Without a home directory.
    pub(crate) fn of_user() -> Result<Self> {
        let home = std::env::home_dir().filter(|home| home.is_absolute());
        let ssh = home
            .context("there is no home directory to keep keys in: set HOME")?
            .join(".ssh");
        Ok(Self {
            top: ssh.join("sandbox"),
            ssh,
        })
    }

    /// `~/.ssh/config`
    pub(super) fn user_config(&self) -> PathBuf {
        self.ssh.join("config")
    }

    /// The pattern of all blocks.
    pub(super) fn all_blocks(&self) -> PathBuf {
        self.top.join("*").join("config")
    }

    fn block(&self, name: &str) -> PathBuf {
        self.top.join(name).join("config")
    }

    fn marker(&self) -> PathBuf {
        self.top.join(".installed")
    }

    /// Writes down how to reach a sandbox; the path of its block.
    ///
    /// # Errors
    ///
    /// When files cannot be written.
    pub(crate) fn write(&self, client: &Client, access: &Access) -> Result<PathBuf> {
        let (host, directory) = (host(&access.id), self.top.join(access.id.as_str()));
        let program = std::env::current_exe().context("cannot tell which program this is")?;
        let block = Block {
            host: &host,
            access,
            directory: &directory,
            program: &program,
            environment: client.environment(),
            remote_command: client::knows_remote_command(),
        };
        let text = block.text(&block::place(client))?;
        self.make()?;
        private_directory(&directory)?;
        private_file(&directory.join("key"), access.client_key.expose())?;
        private_file(
            &directory.join("known_hosts"),
            &format!("{host} {}\n", access.host_key),
        )?;
        // Last: a block without a key would be a puzzle.
        private_file(&directory.join("config"), &text)?;
        Ok(directory.join("config"))
    }

    /// The same where blocks are included in the user's configuration.
    pub(crate) async fn write_if_installed(&self, client: &Client, id: &SandboxId) -> Result<()> {
        if self.marker().exists() {
            self.write(client, &client.access(id).await?)?;
        }
        Ok(())
    }

    /// Forgets a sandbox that was removed. The block of another place's sandbox of the same name, and
    /// its key, are left alone.
    ///
    /// # Errors
    ///
    /// When its key cannot be removed.
    pub(crate) fn forget(&self, client: &Client, id: &SandboxId) -> Result<()> {
        match self.elsewhere(client, id)? {
            Some(_place) => Ok(()),
            None => self.remove(id),
        }
    }

    /// The variables with which the sandbox is found that the block of this name is about, if they
    /// are not the client's.
    ///
    /// # Errors
    ///
    /// When the block cannot be read.
    pub(crate) fn elsewhere(&self, client: &Client, id: &SandboxId) -> Result<Option<String>> {
        let path = self.block(id.as_str());
        let text = match fs::read_to_string(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Ok(block::place_in(&text)
            .filter(|place| *place != block::place(client))
            .map(str::to_owned))
    }

    fn remove(&self, id: &SandboxId) -> Result<()> {
        remove_directory(&self.top.join(id.as_str()))
    }

    /// Forgets sandboxes that the client would have and does not; others' are left alone.
    ///
    /// # Errors
    ///
    /// When the client's cannot be listed, or a key cannot be removed.
    pub(crate) async fn remove_gone(&self, client: &Client) -> Result<()> {
        let written = self.written_for(&block::place(client))?;
        if written.is_empty() {
            return Ok(());
        }
        let there: Vec<SandboxId> = client
            .list(ListFilter::default())
            .await?
            .into_iter()
            .map(|info| info.id)
            .collect();
        written
            .iter()
            .filter(|id| !there.contains(id))
            .try_for_each(|id| self.remove(id))
    }

    pub(super) fn remove_all(&self) -> Result<()> {
        remove_directory(&self.top)
    }

    /// Blocks are included from now on, also those that are written later.
    pub(super) fn mark_installed(&self) -> Result<()> {
        self.make()?;
        private_file(&self.marker(), "")
    }

    /// The directories that all of it lies in.
    pub(super) fn make(&self) -> Result<()> {
        private_directory(&self.ssh)?;
        private_directory(&self.top)
    }

    /// The sandboxes of which there are blocks that were written for this place.
    fn written_for(&self, place: &str) -> Result<Vec<SandboxId>> {
        let entries = match fs::read_dir(&self.top) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(|| format!("cannot read {}", self.top.display()))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let name = entry
                .with_context(|| format!("cannot read {}", self.top.display()))?
                .file_name();
            // What is no sandbox's is not ours to touch.
            let Some(id) = name
                .to_str()
                .and_then(|name| name.parse::<SandboxId>().ok())
            else {
                continue;
            };
            let Ok(text) = fs::read_to_string(self.block(id.as_str())) else {
                continue;
            };
            if block::place_in(&text) == Some(place) {
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

fn private_directory(path: &Path) -> Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    match builder.create(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.with_context(|| format!("cannot make {}", path.display())),
    }
}

/// Replaces a file as a whole: whoever reads it meanwhile sees the old one or the new one.
pub(super) fn private_file(path: &Path, content: &str) -> Result<()> {
    let temporary = path.with_extension(format!("new-{}", std::process::id()));
    let write = || -> std::io::Result<()> {
        // Left by a program of the same number that was killed.
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
