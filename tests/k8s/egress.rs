//! Egress rules on a cluster: proved to be enforced, or refused.
//!
//! A cluster whose network plugin enforces no policies gets a plugin for one Pod: a task that waits for its address and
//! then drops what it begins to send, in the node's network namespace, which `SANDBOX_TEST_NODE_NETNS` names. It comes
//! late, as real ones do.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use sandbox::{
    Client, CreationReason, CreationStage, Egress, Error, Freshness, SandboxBackend, SandboxId,
};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::KubernetesOptions;
use sandbox_k8s::{ClusterOptions, KubernetesBackend, open_cluster};
use sandbox_testkit::peers;
use tokio::sync::OnceCell;

use crate::cluster::{KUBECONFIG, client_for, defaults, options};

cases![
    rules_are_refused_unless_policies_are_enforced,
    rules_hold_as_soon_as_policies_are_enforced,
];

const NODE_NETNS: &str = "SANDBOX_TEST_NODE_NETNS";
/// How late the plugin comes: the canaries are reached before.
const DELAY: Duration = Duration::from_secs(3);

/// Whether the cluster enforces policies, which is tried once.
static ENFORCED: OnceCell<bool> = OnceCell::const_new();

/// A client with the rights of an administrator, its backend, and the host and port of the API server.
pub(crate) async fn admin(
    options: KubernetesOptions,
) -> Outcome<(Client, KubernetesBackend, String)> {
    let mut cluster = ClusterOptions::default();
    cluster.kubeconfig = std::env::var_os(KUBECONFIG).map(PathBuf::from);
    cluster.context = std::env::var(crate::api_server::CONTEXT).ok();
    let cluster = open_cluster(&cluster).await?;
    let backend = KubernetesBackend::new(cluster.client, options).with_api_server(&cluster.server);
    let server: http::Uri = cluster.server.parse()?;
    let host = server.host().unwrap_or_default();
    let server = format!("{host} {}", server.port_u16().unwrap_or(443));
    Ok((client_for(backend.clone(), defaults()), backend, server))
}

/// Returns whether the cluster enforces policies.
///
/// # Errors
///
/// If a sandbox with rules is refused for another reason, or without a remedy.
pub(crate) async fn is_enforced() -> Outcome<bool> {
    ENFORCED.get_or_try_init(try_rules).await.copied()
}

async fn try_rules() -> Outcome<bool> {
    let (client, _, _) = admin(options()).await?;
    let error = match client.sandbox().egress(Egress::none()).create().await {
        Ok(sandbox) => {
            sandbox.delete().await?;
            return Ok(true);
        }
        Err(Error::Creation(error)) => error,
        Err(other) => return Err(other.into()),
    };
    println!("{error}");
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Isolate, CreationReason::NotEnforced)
    );
    for part in [
        "it still reaches the API server at ",
        "does not enforce network policies",
    ] {
        assert!(error.message.contains(part), "{error}");
    }
    // That nothing is left of it is checked at the end of the run.
    Ok(false)
}

async fn rules_are_refused_unless_policies_are_enforced(_: TestedBackend) -> Outcome {
    is_enforced().await.map(|_| ())
}

async fn rules_hold_as_soon_as_policies_are_enforced(_: TestedBackend) -> Outcome {
    let Some(netns) = std::env::var_os(NODE_NETNS).map(PathBuf::from) else {
        peers::skip(
            "network-policies",
            &format!("needs the node's network namespace ({NODE_NETNS} names its file)"),
        );
        return Ok(());
    };
    let (client, backend, server) = admin(options()).await?;
    let id = SandboxId::generate()?;
    let plugin = tokio::spawn(enforce(backend, id.clone(), netns));
    let created = client
        .sandbox()
        .id(&id)
        .egress(Egress::none().allow("allowed.example:80")?)
        .create()
        .await;
    let plugin = plugin.await?;
    let sandbox = created?;
    let _rules = plugin.map_err(|error| error.to_string())?;
    let run = async |line: &str| -> Outcome<String> {
        let output = sandbox.shell(line).output().await?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let asked = run("wget -q -O - http://other.example/ 2>&1").await?;
    assert!(asked.contains("403"), "{asked:?}");
    // There is no other way, although the program would find one.
    let itself = run("nc -w 2 127.0.0.1 2222 < /dev/null && echo reached").await?;
    assert!(itself.contains("reached"), "{itself:?}");
    let direct = run(&format!("nc -w 2 {server} < /dev/null && echo reached")).await?;
    assert!(!direct.contains("reached"), "{direct:?}");
    Ok(sandbox.delete().await?)
}

/// The rules for one Pod, which are removed when it is dropped.
struct Rules {
    netns: PathBuf,
    address: String,
}

/// Waits until a Pod has an address, and then enforces what its policy says.
async fn enforce(
    backend: KubernetesBackend,
    id: SandboxId,
    netns: PathBuf,
) -> Result<Rules, Box<dyn std::error::Error + Send + Sync>> {
    for _ in 0..600 {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let Ok(info) = backend.get(&id, Freshness::Cached).await else {
            continue;
        };
        if let Some(address) = info.address {
            tokio::time::sleep(DELAY).await;
            let rules = Rules { netns, address };
            rules.change("-I")?;
            return Ok(rules);
        }
    }
    Err("the Pod got no address".into())
}

impl Rules {
    /// Drops what the Pod begins, to its node and beyond. Answers to its clients pass.
    fn change(&self, action: &str) -> Outcome {
        for chain in ["INPUT", "FORWARD"] {
            for what in [&["tcp", "--syn"][..], &["udp"]] {
                let output = Command::new("nsenter")
                    .arg(format!("--net={}", self.netns.display()))
                    .args(["iptables", "-w", action, chain, "-s", &self.address, "-p"])
                    .args(what)
                    .args(["-j", "DROP"])
                    .output()?;
                if !output.status.success() {
                    return Err(String::from_utf8_lossy(&output.stderr).into());
                }
            }
        }
        Ok(())
    }
}

impl Drop for Rules {
    fn drop(&mut self) {
        if let Err(error) = self.change("-D") {
            eprintln!("rules for {} not removed: {error}", self.address);
        }
    }
}
