//! The methods of the original Python SDK, by id.

use std::path::Path;

use sandbox_core::{DeleteOptions, FilePath, Freshness, Output, Result, SandboxId, SandboxInfo};

use super::Client;
use crate::create::builder::SandboxBuilder;

/// The methods of the original Python SDK, which take an id. A sandbox that is created or used this
/// way stays connected until it is deleted or the client is dropped.
///
/// ```no_run
/// # async fn example(client: sandbox::Client) -> sandbox::Result<()> {
/// let id = client.create_sandbox(client.sandbox()).await?;
/// client.upload_file(&id, "main.py", "main.py").await?;
/// let out = client.execute_command(&id, "python3 main.py").await?;
/// client.download_file(&id, "result.json", "result.json").await?;
/// client.delete_sandbox(&id).await
/// # }
/// ```
impl Client {
    /// Creates a sandbox and returns its id.
    ///
    /// # Errors
    ///
    /// As [`SandboxBuilder::create`].
    pub async fn create_sandbox(&self, builder: SandboxBuilder) -> Result<SandboxId> {
        let sandbox = builder.create().await?;
        self.handles.insert_strong(&sandbox);
        Ok(sandbox.id().clone())
    }

    /// Deletes a sandbox. Deleting one that does not exist succeeds.
    ///
    /// # Errors
    ///
    /// [`Error::Deletion`](crate::Error::Deletion) if it may still exist.
    pub async fn delete_sandbox(&self, id: &SandboxId) -> Result<()> {
        match self.handles.get(id) {
            Some(sandbox) => sandbox.delete().await,
            None => self.parts.delete(id, DeleteOptions::default()).await,
        }
    }

    /// An alias of [`delete_sandbox`](Self::delete_sandbox).
    ///
    /// # Errors
    ///
    /// As [`delete_sandbox`](Self::delete_sandbox).
    pub async fn shutdown_sandbox(&self, id: &SandboxId) -> Result<()> {
        self.delete_sandbox(id).await
    }

    /// Runs a line in the sandbox's shell, and collects its output.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Command::output`](crate::Command::output).
    pub async fn execute_command(&self, id: &SandboxId, command: &str) -> Result<Output> {
        let sandbox = self.connect(id).await?;
        self.handles.insert_strong(&sandbox);
        sandbox.shell(command).output().await
    }

    /// Uploads a local file to the sandbox. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Sandbox::upload`](crate::Sandbox::upload).
    pub async fn upload_file(
        &self,
        id: &SandboxId,
        local: impl AsRef<Path>,
        remote: impl Into<FilePath>,
    ) -> Result<u64> {
        let sandbox = self.connect(id).await?;
        self.handles.insert_strong(&sandbox);
        sandbox.upload(local, remote).await
    }

    /// Downloads a file of the sandbox to a local file. Returns its size in bytes.
    ///
    /// # Errors
    ///
    /// As [`Client::connect`] and [`Sandbox::download`](crate::Sandbox::download).
    pub async fn download_file(
        &self,
        id: &SandboxId,
        remote: impl Into<FilePath>,
        local: impl AsRef<Path>,
    ) -> Result<u64> {
        let sandbox = self.connect(id).await?;
        self.handles.insert_strong(&sandbox);
        sandbox.download(remote, local).await
    }

    /// Returns what the backend has cached about a sandbox, including its address and SSH port.
    ///
    /// # Errors
    ///
    /// [`Error::NotFound`](crate::Error::NotFound) if there is no such sandbox.
    pub async fn get_sandbox_info(&self, id: &SandboxId) -> Result<SandboxInfo> {
        self.parts.backend.get(id, Freshness::Cached).await
    }
}
