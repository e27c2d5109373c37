//! Creates and deletes a kind cluster. <https://kind.sigs.k8s.io/docs/user/quick-start/>

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::exit_status::require_success;

/// A cluster with its own name and kubeconfig, so that the user's kubeconfig is not changed.
pub(super) struct Kind {
    name: String,
    directory: tempfile::TempDir,
}

impl Kind {
    /// Chooses the name; [`create`](Self::create) creates the cluster.
    pub(super) fn new() -> Result<Self> {
        let name = format!("sandbox-e2e-{}", std::process::id());
        Ok(Self {
            name,
            directory: tempfile::tempdir()
                .context("cannot create a directory for the kubeconfig")?,
        })
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub(super) async fn create(&self) -> Result<()> {
        println!("e2e: creating the kind cluster {}", self.name);
        let mut kind = Command::new("kind");
        kind.args([
            "create",
            "cluster",
            "--name",
            &self.name,
            "--wait",
            "180s",
            "--kubeconfig",
        ]);
        kind.arg(self.kubeconfig()).kill_on_drop(true);
        require_success(kind.status().await, "kind create cluster")
    }

    pub(super) async fn load(&self, archive: &Path) -> Result<()> {
        let mut kind = Command::new("kind");
        kind.args(["load", "image-archive"])
            .arg(archive)
            .args(["--name", &self.name])
            .kill_on_drop(true);
        require_success(kind.status().await, "kind load image-archive")
    }

    /// Deletes the cluster, which succeeds for a cluster that was not created or only partly.
    pub(super) async fn delete(self) -> Result<()> {
        println!("e2e: deleting the kind cluster {}", self.name);
        let mut kind = Command::new("kind");
        kind.args(["delete", "cluster", "--name", &self.name, "--kubeconfig"])
            .arg(self.kubeconfig());
        let outcome = require_success(kind.status().await, "kind delete cluster");
        outcome.with_context(|| {
            format!(
                "delete it by hand: kind delete cluster --name {}",
                self.name
            )
        })
    }
}
