//! The programs that have to be here, and what to do when one is not.

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
    "install it: https://kind.sigs.k8s.io/docs/user/quick-start/#installation; or name a cluster that is there \
     with --context or --kubeconfig",
);
const DOCKER: (&str, &str) = (
    "docker",
    "kind makes its nodes with it: https://docs.docker.com/engine/install/; or name a cluster that is there with \
     --context or --kubeconfig",
);

pub(super) async fn check(target: &Target) -> Result<()> {
    here(KUBECTL)?;
    if *target == Target::Kind {
        here(KIND)?;
        // kind can do with podman or nerdctl, where it is told so; it then looks for them itself.
        if std::env::var_os("KIND_EXPERIMENTAL_PROVIDER").is_none() {
            here(DOCKER)?;
            docker_answers().await?;
        }
    }
    Ok(())
}

fn here((program, mend): (&str, &str)) -> Result<()> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|place| place.join(program).is_file());
    ensure!(found, "there is no {program} in PATH; {mend}");
    Ok(())
}

async fn docker_answers() -> Result<()> {
    let mut docker = Command::new("docker");
    let output = docker
        .args(["info", "--format", "{{.ServerVersion}}"])
        .stdin(Stdio::null())
        .output()
        .await;
    let output = output.context("docker could not be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "docker is here, but its daemon does not answer ({}); start it (systemctl start docker), and be root or \
         in the group docker",
        said.lines().last().unwrap_or("it says nothing").trim()
    );
    Ok(())
}
