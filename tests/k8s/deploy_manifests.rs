//! Applies `deploy/` to a namespace, and creates kubeconfigs for its accounts.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use sandbox::SandboxId;
use sandbox_conformance::Outcome;
use serde_json::{Value, json};

use crate::api_server::{self, CONTEXT, KUBECONFIG};

/// The account that programs with the SDK run as.
pub(crate) const CLIENT: &str = "sandbox-client";
/// The account of the CronJob that runs `sandbox gc`.
pub(crate) const GC: &str = "sandbox-gc";

/// Only clusters from this minor version on have this kind.
const CRON_JOB_SINCE: (&str, u32) = ("kind: CronJob", 21);

/// The manifests as `kubectl apply -k deploy` would send them, for a namespace of this name.
pub(crate) fn manifests(namespace: &str) -> Outcome<Vec<String>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy");
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(directory)
        .output()?;
    let text = String::from_utf8(check_success(output)?.stdout)?;
    let text = text
        .replace(
            "namespace: sandboxes\n",
            &format!("namespace: {namespace}\n"),
        )
        .replace("name: sandboxes\n", &format!("name: {namespace}\n"));
    Ok(text.split("\n---\n").map(str::to_owned).collect())
}

/// The accounts of `deploy/pool` with their permissions, for a namespace of this name.
pub(crate) fn pool_accounts(namespace: &str) -> Outcome<String> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/pool");
    let output = Command::new("kubectl")
        .arg("kustomize")
        .arg(directory)
        .output()?;
    let text = String::from_utf8(check_success(output)?.stdout)?.replace(
        "namespace: sandboxes\n",
        &format!("namespace: {namespace}\n"),
    );
    // The images of the Deployment are not those of the tests.
    let accounts = text
        .split("\n---\n")
        .filter(|document| !document.contains("kind: Deployment"));
    Ok(accounts.collect::<Vec<_>>().join("\n---\n"))
}

/// Creates a namespace from `deploy/`, and waits until Pods can be created in it. `strict` enforces
/// the Pod Security Standard of the manifests; otherwise cases may create less restricted Pods.
pub(crate) async fn create_namespace(client: &kube::Client, strict: bool) -> Outcome<String> {
    let name = format!("test-{}", SandboxId::generate()?);
    let mut text = manifests(&name)?;
    let has_cron_job = api_server::minor_version().await? >= CRON_JOB_SINCE.1;
    text.retain(|document| has_cron_job || !document.contains(CRON_JOB_SINCE.0));
    let mut text = text.join("\n---\n");
    if !strict {
        text = text.replace("enforce: restricted", "enforce: privileged");
    }
    tokio::task::spawn_blocking(move || apply(&text)).await??;
    api_server::wait_for_service_account(client, &name).await?;
    Ok(name)
}

/// Checks whether the cluster would accept `flow-schema.yaml`. Nothing is stored, because it concerns the whole cluster.
pub(crate) fn check_flow_schema() -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/flow-schema.yaml");
    let mut kubectl = kubectl();
    kubectl.args(["create", "--dry-run=server", "-f"]).arg(file);
    check_success(kubectl.output()?).map(|_| ())
}

/// Runs `work` in a namespace of its own, which is deleted even if the work fails.
pub(crate) async fn with_namespace<W>(
    strict: bool,
    work: impl FnOnce(kube::Client, String) -> W,
) -> Outcome
where
    W: Future<Output = Outcome>,
{
    let api = api_server::api().await?;
    let name = create_namespace(&api, strict).await?;
    let outcome = work(api.clone(), name.clone()).await;
    api_server::remove_namespace(&api, &name).await?;
    outcome
}

/// A kubeconfig for an account of the namespace; its token is valid for an hour.
pub(crate) async fn account_kubeconfig(
    client: &kube::Client,
    namespace: &str,
    account: &str,
) -> Outcome<tempfile::TempPath> {
    let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token");
    let spec = TokenRequestSpec {
        expiration_seconds: Some(3600),
        ..TokenRequestSpec::default()
    };
    let body = serde_json::to_vec(&TokenRequest {
        spec,
        ..TokenRequest::default()
    })?;
    let request = http::Request::post(path)
        .header("content-type", "application/json")
        .body(body)?;
    let response: TokenRequest = client.request(request).await?;
    let token = response.status.ok_or("the response has no token")?.token;
    edited_kubeconfig(|config| {
        for user in config["users"].as_array_mut().into_iter().flatten() {
            user["user"] = json!({ "token": token });
        }
    })
}

/// The kubeconfig of the tests with changes.
pub(crate) fn edited_kubeconfig(change: impl FnOnce(&mut Value)) -> Outcome<tempfile::TempPath> {
    let mut view = kubectl();
    view.args([
        "config",
        "view",
        "--raw",
        "--flatten",
        "--minify",
        "-o",
        "json",
    ]);
    let mut config: Value = serde_json::from_slice(&check_success(view.output()?)?.stdout)?;
    change(&mut config);
    let mut file = tempfile::NamedTempFile::new()?;
    file.write_all(&serde_json::to_vec(&config)?)?;
    Ok(file.into_temp_path())
}

/// kubectl with the kubeconfig of the tests.
pub(crate) fn kubectl() -> Command {
    let mut kubectl = Command::new("kubectl");
    kubectl.arg("--kubeconfig").arg(
        std::env::var_os(KUBECONFIG)
            .map(PathBuf::from)
            .unwrap_or_default(),
    );
    if let Some(context) = std::env::var_os(CONTEXT) {
        kubectl.arg("--context").arg(context);
    }
    kubectl
}

/// Applies manifests.
pub(crate) fn apply(text: &str) -> Outcome {
    send(&["apply"], text)
}

/// Deletes what manifests describe.
pub(crate) fn delete(text: &str) -> Outcome {
    send(&["delete", "--wait=false"], text)
}

fn send(args: &[&str], text: &str) -> Outcome {
    let mut kubectl = kubectl();
    kubectl
        .args(args)
        .args(["-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = kubectl.spawn()?;
    child
        .stdin
        .take()
        .ok_or("kubectl takes no input")?
        .write_all(text.as_bytes())?;
    check_success(child.wait_with_output()?).map(|_| ())
}

/// Lets the client account of a namespace upload servers.
pub(crate) fn apply_upload(namespace: &str) -> Outcome {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/upload.yaml");
    let mut kubectl = kubectl();
    kubectl
        .args(["--namespace", namespace, "apply", "-f"])
        .arg(file);
    check_success(kubectl.output()?).map(|_| ())
}

fn check_success(output: Output) -> Outcome<Output> {
    if output.status.success() {
        return Ok(output);
    }
    Err(format!("kubectl: {}", String::from_utf8_lossy(&output.stderr)).into())
}
