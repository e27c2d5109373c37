//! Checks that the programs which the tests need are installed, and says how to install them.

use std::process::Stdio;

use anyhow::{Context, Result, ensure};
use tokio::process::Command;

use super::options::Target;

const KUBECTL: (&str, &str) = (
    "kubectl",
    "install it: https://kubernetes.io/docs/tasks/tools/ (Debian: apt-get install kubernetes-client)",
);
const KIND: (&str, &str) = (
    "kind",
    "install it: https://kind.sigs.k8s.io/docs/user/quick-start/#installation; or name an existing cluster \
     with --context or --kubeconfig",
);
const DOCKER: (&str, &str) = (
    "docker",
    "kind creates its nodes with it: https://docs.docker.com/engine/install/; or name an existing cluster with \
     --context or --kubeconfig",
);

pub(super) async fn check(target: &Target) -> Result<()> {
    require(KUBECTL)?;
    if *target == Target::Kind {
        require(KIND)?;
        // With this variable kind uses podman or nerdctl, and looks for them itself.
        if std::env::var_os("KIND_EXPERIMENTAL_PROVIDER").is_none() {
            require(DOCKER)?;
            check_docker().await?;
        }
    }
    Ok(())
}

fn require((program, hint): (&str, &str)) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|directory| directory.join(program).is_file());
    ensure!(found, "{program} is not in PATH; {hint}");
    Ok(())
}

async fn check_docker() -> Result<()> {
    let mut docker = Command::new("docker");
    let output = docker
        .args(["info", "--format", "{{.ServerVersion}}"])
        .stdin(Stdio::null())
        .output()
        .await;
    let output = output.context("cannot start docker")?;
    let stderr = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "docker is installed, but its daemon does not answer ({}); start it (systemctl start docker), and be root or \
         a member of the group docker",
        stderr.lines().last().unwrap_or("no message").trim()
    );
    Ok(())
}
