//! A cluster of kind's. <https://kind.sigs.k8s.io/docs/user/quick-start/>

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tokio::process::Command;

use super::finish;

/// A cluster with a name and a kubeconfig of its own: the user's is left as it is.
pub(super) struct Kind {
    name: String,
    directory: tempfile::TempDir,
}

impl Kind {
    /// Nothing is started yet.
    pub(super) fn new() -> Result<Self> {
        let name = format!("sandbox-e2e-{}", std::process::id());
        Ok(Self {
            name,
            directory: tempfile::tempdir().context("no directory for a kubeconfig")?,
        })
    }

    pub(super) fn kubeconfig(&self) -> PathBuf {
        self.directory.path().join("kubeconfig")
    }

    pub(super) async fn create(&self) -> Result<()> {
        println!("e2e: kind makes the cluster {}", self.name);
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
        finish(kind.status().await, "kind create cluster")
    }

    pub(super) async fn load(&self, archive: &Path) -> Result<()> {
        let mut kind = Command::new("kind");
        kind.args(["load", "image-archive"])
            .arg(archive)
            .args(["--name", &self.name])
            .kill_on_drop(true);
        finish(kind.status().await, "kind load image-archive")
    }

    /// Also where it was not made, or half: kind takes that for success.
    pub(super) async fn remove(self) -> Result<()> {
        println!("e2e: kind removes the cluster {}", self.name);
        let mut kind = Command::new("kind");
        kind.args(["delete", "cluster", "--name", &self.name, "--kubeconfig"])
            .arg(self.kubeconfig());
        let outcome = finish(kind.status().await, "kind delete cluster");
        outcome.with_context(|| {
            format!(
                "remove it yourself: kind delete cluster --name {}",
                self.name
            )
        })
    }
}
