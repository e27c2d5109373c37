//! The directory of one id, `~/.ssh/sandbox/<id>/`: one directory for each known sandbox with this id, named by its
//! uid, and `config`, which ssh reads and which is made from the blocks in them.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::openssh::block;
use crate::openssh::names::{NamedSandbox, choose_names, host_name};
use crate::openssh::private_files::{
    create_private_directory, remove_directory, write_private_file,
};

/// The directory of one id.
pub(super) struct IdDirectory {
    id: String,
    path: PathBuf,
}

/// A block as it was written.
pub(super) struct StoredBlock {
    pub(super) sandbox: NamedSandbox,
    text: String,
}

impl IdDirectory {
    pub(super) fn new(top: &Path, id: &str) -> Self {
        Self {
            id: id.to_owned(),
            path: top.join(id),
        }
    }

    /// Returns the directory of the sandbox with this uid.
    ///
    /// # Errors
    ///
    /// If the uid is not the name of a file.
    pub(super) fn sandbox_directory(&self, uid: &str) -> Result<PathBuf> {
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        if uid.is_empty() || uid.len() > 64 || !uid.bytes().all(is_plain) {
            bail!(
                "the backend gave the sandbox {} the uid {uid:?}, which cannot name a directory",
                self.id
            );
        }
        Ok(self.path.join(uid))
    }

    /// Creates the directory of a sandbox.
    ///
    /// # Errors
    ///
    /// If it cannot be created.
    pub(super) fn create(&self, uid: &str) -> Result<PathBuf> {
        let directory = self.sandbox_directory(uid)?;
        create_private_directory(&self.path)?;
        create_private_directory(&directory)?;
        Ok(directory)
    }

    /// Returns the blocks of all known sandboxes with this id, in a stable order.
    ///
    /// # Errors
    ///
    /// If the directory cannot be read.
    pub(super) fn read_blocks(&self) -> Result<Vec<StoredBlock>> {
        let cannot_read = || format!("cannot read {}", self.path.display());
        let entries = match fs::read_dir(&self.path) {
            Err(error) if is_missing(&error) => return Ok(Vec::new()),
            entries => entries.with_context(cannot_read)?,
        };
        let mut blocks = Vec::new();
        for entry in entries {
            let entry = entry.with_context(cannot_read)?;
            let Ok(uid) = entry.file_name().into_string() else {
                continue;
            };
            let text = match fs::read_to_string(entry.path().join("config")) {
                Err(error) if is_missing(&error) => continue,
                text => text.with_context(|| format!("cannot read {}", entry.path().display()))?,
            };
            if let Some(environment) = block::read_environment(&text).map(str::to_owned) {
                let sandbox = NamedSandbox {
                    id: self.id.clone(),
                    uid,
                    environment,
                };
                blocks.push(StoredBlock { sandbox, text });
            }
        }
        blocks.sort_by(|one, other| one.sandbox.uid.cmp(&other.sandbox.uid));
        Ok(blocks)
    }

    /// Removes the files of one sandbox. [`update`](Self::update) has to follow.
    ///
    /// # Errors
    ///
    /// If a file cannot be removed.
    pub(super) fn remove(&self, uid: &str) -> Result<()> {
        remove_directory(&self.sandbox_directory(uid)?)
    }

    /// Writes the file that ssh reads, and returns the names of each sandbox by its uid. If there are several,
    /// the short name is refused: ssh would otherwise reach one of them, and not say which.
    ///
    /// # Errors
    ///
    /// If a file cannot be written.
    pub(super) fn update(&self) -> Result<Vec<(String, Vec<String>)>> {
        let blocks = self.read_blocks()?;
        if blocks.is_empty() {
            remove_directory(&self.path)?;
            return Ok(Vec::new());
        }
        let (sandboxes, texts): (Vec<_>, Vec<_>) = blocks
            .into_iter()
            .map(|block| (block.sandbox, block.text))
            .unzip();
        let names = choose_names(&sandboxes);
        let mut config: Vec<String> = texts
            .iter()
            .zip(&names)
            .map(|(text, names)| block::replace_hosts(text, names))
            .collect();
        if names.len() > 1 {
            let alternatives: Vec<&str> = names
                .iter()
                .filter_map(|names| names.first())
                .map(String::as_str)
                .collect();
            config.push(block::format_refusal(&host_name(&self.id), &alternatives));
        }
        write_private_file(&self.path.join("config"), &config.join("\n"))?;
        Ok(sandboxes
            .into_iter()
            .map(|sandbox| sandbox.uid)
            .zip(names)
            .collect())
    }
}

/// Other files of the user are ignored.
fn is_missing(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory)
}
