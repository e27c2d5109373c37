//! The files that OpenSSH's tools read: `~/.ssh/sandbox/`.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::PathBuf;

use anyhow::{Context, Result};
use sandbox::{Access, Client, ListFilter, SandboxId};

use crate::openssh::block::{self, Block};
use crate::openssh::client;
use crate::openssh::directory::IdDirectory;
use crate::openssh::names::{host_name, is_same_place};
use crate::openssh::private_files::{
    create_private_directory, remove_directory, write_private_file,
};

/// The directory `~/.ssh/sandbox`. It has a directory for each id.
pub(crate) struct SshFiles {
    /// `~/.ssh`
    ssh: PathBuf,
    /// `~/.ssh/sandbox`
    top: PathBuf,
}

/// A sandbox that ssh can reach.
pub(crate) struct ReachableSandbox {
    /// A file with only this sandbox's block, in which it has the name `<id>.sandbox`.
    pub(crate) config: PathBuf,
    /// The block with the names that no other sandbox has.
    pub(crate) block: String,
    /// The name to use.
    pub(crate) host: String,
    /// Why the name is not `<id>.sandbox`.
    pub(crate) note: Option<String>,
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

    /// The file whose existence says that the user's configuration includes the blocks.
    fn marker_path(&self) -> PathBuf {
        self.top.join(".installed")
    }

    /// Writes the files of a sandbox.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(crate) fn write(&self, client: &Client, access: &Access) -> Result<ReachableSandbox> {
        let (id, uid) = (access.id.as_str(), access.uid.as_str());
        let host = host_name(id);
        let directory = IdDirectory::new(&self.top, id);
        let own = directory.sandbox_directory(uid)?;
        let program = std::env::current_exe().context("cannot find the path of this program")?;
        let environment = block::format_environment(client);
        let block = Block {
            host: &host,
            access,
            directory: &own,
            program: &program,
            environment: client.environment(),
            keywords: client::supported_keywords(),
        };
        let text = block.format(&environment)?;
        self.create_directories()?;
        let _lock = self.lock()?;
        // An earlier sandbox of this id in the same place no longer exists.
        for other in directory.read_blocks()? {
            if other.sandbox.uid != uid && is_same_place(&other.sandbox.environment, &environment) {
                directory.remove(&other.sandbox.uid)?;
            }
        }
        let own = directory.create(uid)?;
        write_private_file(&own.join("key"), access.client_key.expose())?;
        write_private_file(
            &own.join("known_hosts"),
            &format!("{host} {}\n", access.host_key),
        )?;
        // The block is written last, so that there is none without a key.
        let config = own.join("config");
        write_private_file(&config, &text)?;
        let all = directory.update()?;
        let find = |is_own: bool| {
            all.iter()
                .filter(move |(other, _)| (other == uid) == is_own)
        };
        let names: &[String] = find(true)
            .map(|(_, names)| names.as_slice())
            .next()
            .unwrap_or_default();
        let name = names.first().unwrap_or(&host);
        let others: Vec<&str> = find(false)
            .filter_map(|(_, names)| names.first())
            .map(String::as_str)
            .collect();
        let note = (!others.is_empty()).then(|| {
            format!(
                "ssh reaches this sandbox {id} as {name}, because there is also {}; {host} is refused",
                others.join(" and ")
            )
        });
        Ok(ReachableSandbox {
            block: block::replace_hosts(&text, names),
            host: name.clone(),
            config,
            note,
        })
    }

    /// Writes the files of a sandbox if the user's configuration includes the blocks.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), and if the sandbox's access cannot be read.
    pub(crate) async fn write_if_installed(
        &self,
        client: &Client,
        id: &SandboxId,
    ) -> Result<Option<ReachableSandbox>> {
        if !self.marker_path().exists() {
            return Ok(None);
        }
        self.write(client, &client.access(id).await?).map(Some)
    }

    /// Removes the files of a deleted sandbox. Files of a sandbox with the same id in another
    /// place are kept.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or removed.
    pub(crate) fn remove_deleted(&self, client: &Client, id: &SandboxId) -> Result<()> {
        let environment = block::format_environment(client);
        self.remove_if(id.as_str(), |_uid, other| {
            is_same_place(other, &environment)
        })
    }

    /// Returns the environment of a block with this id if it is not in the client's place.
    ///
    /// # Errors
    ///
    /// If a block cannot be read.
    pub(crate) fn find_other_environment(
        &self,
        client: &Client,
        id: &SandboxId,
    ) -> Result<Option<String>> {
        let environment = block::format_environment(client);
        let blocks = IdDirectory::new(&self.top, id.as_str()).read_blocks()?;
        let mut environments = blocks.into_iter().map(|block| block.sandbox.environment);
        Ok(environments.find(|other| !is_same_place(other, &environment)))
    }

    /// Removes the files of sandboxes in the client's place that no longer exist.
    ///
    /// # Errors
    ///
    /// If the sandboxes cannot be listed, or a file cannot be removed.
    pub(crate) async fn remove_stale(&self, client: &Client) -> Result<()> {
        let environment = block::format_environment(client);
        let ids = self.find_ids()?;
        if ids.is_empty() {
            return Ok(());
        }
        let existing: Vec<String> = client
            .list(ListFilter::default())
            .await?
            .into_iter()
            .map(|info| info.uid.as_str().to_owned())
            .collect();
        ids.iter().try_for_each(|id| {
            self.remove_if(id, |uid, other| {
                is_same_place(other, &environment) && !existing.iter().any(|one| one == uid)
            })
        })
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

    /// Removes the files of sandboxes with this id, by uid and environment.
    fn remove_if(&self, id: &str, should_remove: impl Fn(&str, &str) -> bool) -> Result<()> {
        let directory = IdDirectory::new(&self.top, id);
        if directory.read_blocks()?.is_empty() {
            return Ok(());
        }
        let _lock = self.lock()?;
        let blocks = directory.read_blocks()?;
        let removed: Vec<_> = blocks
            .iter()
            .filter(|block| should_remove(&block.sandbox.uid, &block.sandbox.environment))
            .collect();
        for block in &removed {
            directory.remove(&block.sandbox.uid)?;
        }
        if !removed.is_empty() {
            directory.update()?;
        }
        Ok(())
    }

    /// Keeps other processes from changing the files until the result is dropped.
    fn lock(&self) -> Result<File> {
        let path = self.top.join(".lock");
        let lock = || {
            let file = File::options()
                .create(true)
                .truncate(false)
                .write(true)
                .open(&path)?;
            file.lock()?;
            Ok::<_, std::io::Error>(file)
        };
        lock().with_context(|| format!("cannot lock {}", path.display()))
    }

    /// Returns the ids that have a directory.
    fn find_ids(&self) -> Result<Vec<String>> {
        let cannot_read = || format!("cannot read {}", self.top.display());
        let entries = match fs::read_dir(&self.top) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.with_context(cannot_read)?,
        };
        let mut ids = Vec::new();
        for entry in entries {
            let name = entry.with_context(cannot_read)?.file_name();
            // Other files of the user are ignored.
            let id = name
                .to_str()
                .and_then(|name| name.parse::<SandboxId>().ok());
            ids.extend(id.map(|id| id.as_str().to_owned()));
        }
        Ok(ids)
    }
}
