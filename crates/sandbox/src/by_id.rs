//! The same client in the words of the original SDK, by id.

use std::path::Path;

use sandbox_core::{DeleteOptions, Freshness, Output, Result, SandboxId, SandboxInfo};

use crate::{Client, SandboxBuilder};

/// The original Python SDK's methods. A sandbox made or used this way stays connected as long
/// as the client lives, or until it is deleted.
impl Client {
    /// Creates a sandbox and gives its id.
    ///
    /// # Errors
    ///
    /// As [`SandboxBuilder::create`].
    pub async fn create_sandbox(&self, builder: SandboxBuilder) -> Result<SandboxId> {
        let sandbox = builder.create().await?;
        self.known.hold(&sandbox);
        Ok(sandbox.id().clone())
    }

    /// Deletes a sandbox. One that does not exist is deleted already.
    ///
    /// # Errors
    ///
    /// [`Error::Deletion`](crate::Error::Deletion) when it may still exist.
    pub async fn delete_sandbox(&self, id: &SandboxId) -> Result<()> {
        match self.known.get(id) {
            Some(sandbox) => sandbox.delete().await,
            None => self.parts.delete(id, DeleteOptions::default()).await,
        }
    }

    /// Another name of [`delete_sandbox`](Self::delete_sandbox).
    ///
    /// # Errors
    ///
    /// As [`delete_sandbox`](Self::delete_sandbox).
    pub async fn shutdown_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.delete_sandbox(id).await
    }

    /// Runs a line in the sandbox's shell, and collects what it wrote.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Command::output`](crate::Command::output).
    pub async fn execute_command(&self, id: &SandboxId, command: &str) -> Result<Output> {
        let sandbox = self.connect(id).await?;
        self.known.hold(&sandbox);
        sandbox.shell(command).output().await
    }

    /// Writes a local file into the sandbox; gives its size.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Sandbox::upload`](crate::Sandbox::upload).
    pub async fn upload_file(&self, id: &SandboxId, local: impl AsRef<Path>, remote: &str) -> Result<u64> {
        let sandbox = self.connect(id).await?;
        self.known.hold(&sandbox);
        sandbox.upload(local, remote).await
    }

    /// Writes a file of the sandbox to a local one; gives its size.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Sandbox::download`](crate::Sandbox::download).
    pub async fn download_file(&self, id: &SandboxId, remote: &str, local: impl AsRef<Path>) -> Result<u64> {
        let sandbox = self.connect(id).await?;
        self.known.hold(&sandbox);
        sandbox.download(remote, local).await
    }

    /// What a sandbox is, with its address and SSH port, from what the backend remembers.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound).
    pub async fn get_sandbox_info(&self, id: &SandboxId) -> Result<SandboxInfo> {
        self.parts.backend.get(id, Freshness::Cached).await
    }
}
