//! Keeps a sandbox from the network: a label, and a NetworkPolicy that selects it.
//!
//! What the sandbox may reach nevertheless is decided by the proxy of its client, so that one policy is enough for all
//! rules. That the cluster's network plugin obeys the policy is not known before it is tried from inside.

mod control_plane;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Canary, Deadline, Error, NetworkIsolation, Result, SandboxId, Uid};
use serde_json::json;

pub(super) use control_plane::ControlPlane;

use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::failure::{Failure, FailureCause};
use crate::manifest::network_policy::{self, Reach};
use crate::names::{BACKEND, EGRESS, EGRESS_NONE, EGRESS_POLICY};

/// The metadata service of most clouds, which may hand out credentials of the node.
const METADATA: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)), 80);

/// Who has to obey the policy.
const REMEDY: &str = "the cluster's network plugin does not enforce network policies (flannel, kubenet and a plain bridge do \
     not; Calico, Cilium, Antrea and kube-router do), or a policy of another kind lets the sandbox out; install a plugin \
     that does, or remove that policy";

/// Labels a Pod, and makes sure that policies let it reach nothing.
pub(super) async fn isolate(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
) -> Result<NetworkIsolation> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let not_found = || Error::NotFound { id: id.clone() };
    let meta = shared.api().get_metadata::<Pod>(id, deadline).await?;
    let meta = meta
        .filter(|meta| meta.uid.as_deref() == Some(uid.as_str()))
        .ok_or_else(not_found)?;
    let mut labels = meta.labels.unwrap_or_default();
    let was_labelled = labels.get(EGRESS).is_some_and(|value| value == EGRESS_NONE);
    labels.insert(EGRESS.to_owned(), EGRESS_NONE.to_owned());
    // The policy comes first, so that nothing is changed if it cannot be had.
    ensure_denied(shared, &labels, deadline).await?;
    if !was_labelled {
        let patch = json!({"metadata": {"uid": uid, "labels": {EGRESS: EGRESS_NONE}}});
        let changed = shared.api().patch::<Pod>(id, &patch, deadline).await?;
        shared.record_change(id, changed.as_ref())?;
    }
    let mut isolation = NetworkIsolation::new(find_canaries(shared, deadline).await?, REMEDY);
    isolation.was_ordered = was_labelled;
    Ok(isolation)
}

/// Returns the addresses of the API server, as far as they are known.
pub(super) async fn control_plane(shared: &Shared) -> Vec<IpAddr> {
    match control_plane::find(shared, Deadline::from_now(LOOKUP_TIMEOUT)).await {
        Ok(found) => found.addresses(),
        Err(error) => {
            tracing::warn!(%error, "the API server's addresses are not known, and egress rules do not refuse them");
            Vec::new()
        }
    }
}

async fn find_canaries(shared: &Shared, deadline: Deadline) -> Result<Vec<Canary>> {
    let found = control_plane::find(shared, deadline).await?;
    if found.service.is_empty() {
        return Err(failure(
            "the address of the API server's Service is not known, so that nothing would prove it: let the account read \
             the Service kubernetes in the namespace default (kubectl apply -f deploy/egress-proof.yaml)"
                .to_owned(),
        ));
    }
    let api_server = found.all().map(|address| Canary {
        name: "the API server",
        address: *address,
    });
    let metadata = Canary {
        name: "the metadata service",
        address: METADATA,
    };
    Ok(api_server.chain([metadata]).collect())
}

/// Makes sure that the policies of the namespace let a Pod with these labels reach nothing.
async fn ensure_denied(
    shared: &Shared,
    labels: &BTreeMap<String, String>,
    deadline: Deadline,
) -> Result<()> {
    let namespace = &shared.api().namespace;
    match judge(shared, labels, deadline).await? {
        Reach::Nothing => return Ok(()),
        Reach::Allowed(policies) => return Err(allowing_error(namespace, &policies)),
        Reach::Everything => {}
    }
    let policy = network_policy::deny_all(namespace);
    match shared.api().create_network_policy(&policy, deadline).await {
        // Another client may have created it at the same time.
        Ok(_is_new) => {}
        Err(Failure {
            cause: FailureCause::NoPermission,
            ..
        }) => {
            return Err(failure(format!(
                "the namespace {namespace} has no NetworkPolicy {EGRESS_POLICY}, and there is no permission to create \
                 networkpolicies: kubectl apply -n {namespace} -f deploy/egress.yaml"
            )));
        }
        Err(failure) => return Err(failure.error),
    }
    match judge(shared, labels, deadline).await? {
        Reach::Nothing => Ok(()),
        Reach::Allowed(policies) => Err(allowing_error(namespace, &policies)),
        Reach::Everything => Err(failure(format!(
            "the NetworkPolicy {EGRESS_POLICY} in the namespace {namespace} does not select the sandbox or denies it \
             nothing: replace it (kubectl apply -n {namespace} -f deploy/egress.yaml)"
        ))),
    }
}

async fn judge(
    shared: &Shared,
    labels: &BTreeMap<String, String>,
    deadline: Deadline,
) -> Result<Reach> {
    let namespace = &shared.api().namespace;
    match shared.api().network_policies(deadline).await {
        Ok(policies) => Ok(network_policy::judge(&policies, labels)),
        Err(Failure {
            cause: FailureCause::NoPermission,
            ..
        }) => Err(failure(format!(
            "no permission to list networkpolicies in the namespace {namespace}, so that it is not known what lets the \
             sandbox out: kubectl apply -n {namespace} -f deploy/egress.yaml"
        ))),
        Err(failure) => Err(failure.error),
    }
}

fn allowing_error(namespace: &str, policies: &[String]) -> Error {
    let names = policies.join(", ");
    failure(format!(
        "the NetworkPolicy {names} in the namespace {namespace} lets the sandbox out as well, and policies add up: leave \
         Pods with the label {EGRESS} out of its podSelector, as deploy/network-policy.yaml does"
    ))
}

/// An error that a retry does not change.
fn failure(message: String) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation: "keep the sandbox from the network",
        message,
        transient: false,
        source: None,
    }
}
