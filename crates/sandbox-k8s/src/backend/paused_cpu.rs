//! Gives the processors that a paused sandbox has reserved on its node back to the cluster, with the subresource
//! `pods/resize`, which is stable since Kubernetes 1.35 and on by default since 1.33. <https://kep.k8s.io/1287>
//!
//! What it had is kept in an annotation, so that any client can resume it. Without the subresource, or the permission for
//! it, a sandbox is paused all the same, and keeps its reservation.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sandbox_core::{Cpu, Deadline, Error, ResizeOutcome, Resources, Result, SandboxId, Uid};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::resizing::{await_decision, has_resize};
use super::shared::Shared;
use crate::api::failure::FailureCause;
use crate::manifest::labels;
use crate::names::{BACKEND, CONTAINER, PAUSED_CPU};

/// What a paused sandbox keeps of its reservation: its server still answers.
const KEPT: Cpu = Cpu::from_millis(10);
/// What it keeps if its limit has to be as low, because the class of the Pod (QoS) may not change.
const KEPT_WITH_LIMIT: Cpu = Cpu::from_millis(100);

/// The processors that a sandbox has reserved, in the form of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reservation {
    request: String,
    /// Its limit, if that is lowered, too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    limit: Option<String>,
}

impl Reservation {
    /// What a Pod has reserved, if something can be given back.
    fn of(pod: &Pod) -> Option<Self> {
        let resources = pod.spec.as_ref()?.containers.iter();
        let resources = resources
            .filter(|container| container.name == CONTAINER)
            .find_map(|container| container.resources.as_ref())?;
        let request = resources.requests.as_ref()?.get("cpu")?;
        let class = pod.status.as_ref()?.qos_class.as_deref();
        let limit = match class {
            Some("Guaranteed") => Some(resources.limits.as_ref()?.get("cpu")?.0.clone()),
            _ => None,
        };
        let reservation = Self {
            request: request.0.clone(),
            limit,
        };
        // What the API server writes otherwise, such as 1e3m, is left alone.
        let reserved: Cpu = reservation.request.parse().ok()?;
        (reserved.as_millis() > reservation.kept().as_millis()).then_some(reservation)
    }

    /// What was written to a Pod. Others may write there.
    fn read(pod: &Pod) -> Option<Self> {
        let text = labels::annotation(&pod.metadata, PAUSED_CPU)?;
        let read: Self = serde_json::from_str(text).ok()?;
        let mut amounts = std::iter::once(&read.request).chain(&read.limit);
        let is_valid = amounts.all(|amount| amount.parse::<Cpu>().is_ok());
        is_valid.then_some(read)
    }

    /// Returns the value of the annotation.
    pub(super) fn to_annotation(&self) -> Value {
        json!(json!(self).to_string())
    }

    fn kept(&self) -> Cpu {
        match self.limit {
            Some(_) => KEPT_WITH_LIMIT,
            None => KEPT,
        }
    }

    /// What is left of it during a pause.
    fn reduced(&self) -> Self {
        let kept = self.kept().to_string();
        Self {
            limit: self.limit.is_some().then(|| kept.clone()),
            request: kept,
        }
    }

    /// The strategic merge patch that reserves this much.
    fn to_patch(&self, uid: &Uid) -> Value {
        let mut resources = json!({"requests": {"cpu": self.request}});
        if let Some(limit) = &self.limit {
            resources["limits"] = json!({"cpu": limit});
        }
        json!({
            "metadata": {"uid": uid},
            "spec": {"containers": [{"name": CONTAINER, "resources": resources}]},
        })
    }

    fn is_that_of(&self, pod: &Pod) -> bool {
        let Some(spec) = &pod.spec else { return false };
        let mut containers = spec.containers.iter();
        let resources = containers
            .find(|container| container.name == CONTAINER)
            .and_then(|container| container.resources.as_ref());
        let Some(requests) = resources.and_then(|resources| resources.requests.as_ref()) else {
            return false;
        };
        requests.get("cpu") == Some(&Quantity(self.request.clone()))
    }
}

/// Finds out what a sandbox that is about to be paused can give back. It is `None` also if that cannot be found out: a
/// pause does not depend on it.
pub(super) async fn find(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    deadline: Deadline,
) -> Option<Reservation> {
    let found = async {
        if !has_resize(shared, deadline).await? {
            return Ok(None);
        }
        get(shared, id, uid, deadline).await
    };
    match found.await {
        // What was written at an earlier pause is what it had.
        Ok(Some(pod)) if labels::annotation(&pod.metadata, PAUSED_CPU).is_some() => None,
        Ok(pod) => pod.as_ref().and_then(Reservation::of),
        Err(error) => {
            tracing::debug!(sandbox.id = %id, %error, "a paused sandbox keeps its processors");
            None
        }
    }
}

/// Gives back what a paused sandbox has reserved, after that was written to its annotation.
pub(super) async fn release(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    reservation: &Reservation,
    deadline: Deadline,
) {
    let patch = reservation.reduced().to_patch(uid);
    match shared.api().resize_pod(id, &patch, deadline).await {
        Ok(Some(_pod)) => {
            tracing::debug!(sandbox.id = %id, cpu = reservation.request, "processors given back");
        }
        Ok(None) => {
            tracing::debug!(sandbox.id = %id, "a paused sandbox keeps its processors: its Pod was not resized");
        }
        Err(failure) => {
            let is_forbidden = failure.cause == FailureCause::NoPermission;
            let error = failure.error;
            tracing::debug!(sandbox.id = %id, is_forbidden, %error, "a paused sandbox keeps its processors");
        }
    }
}

/// Takes back what a sandbox had reserved before it was paused. Whether its node still has room is logged once the node
/// has decided; until it has, the sandbox runs with less.
///
/// # Errors
///
/// If the API server refuses. What it had stays written, so that it can be tried again.
pub(super) async fn restore(
    shared: &Arc<Shared>,
    id: &SandboxId,
    uid: &Uid,
    deadline: Deadline,
) -> Result<()> {
    // A cluster that has lost the subresource has Pods that were not resized.
    if let Ok(false) = has_resize(shared, deadline).await {
        return Ok(());
    }
    let Some(pod) = get(shared, id, uid, deadline).await? else {
        return Err(Error::NotFound { id: id.clone() });
    };
    let Some(reservation) = Reservation::read(&pod) else {
        return Ok(());
    };
    if reservation.is_that_of(&pod) {
        return Ok(());
    }
    let refused = |message: String, transient, source| Error::Backend {
        backend: BACKEND,
        operation: "take the processors of the sandbox back",
        message: format!("{message}; it runs with less: resume it again"),
        transient,
        source,
    };
    let patch = reservation.to_patch(uid);
    let pod = match shared.api().resize_pod(id, &patch, deadline).await {
        Ok(Some(pod)) => pod,
        Ok(None) => {
            let message = "the API server does not accept the size".to_owned();
            return Err(refused(message, false, None));
        }
        Err(failure) => {
            let error = failure.error;
            let is_retryable = error.is_retryable();
            return Err(refused(error.to_string(), is_retryable, Some(error.into())));
        }
    };
    let (shared, id, uid) = (Arc::clone(shared), id.clone(), uid.clone());
    tokio::spawn(async move { log_decision(&shared, &id, &uid, pod, &reservation).await });
    Ok(())
}

async fn log_decision(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    pod: Pod,
    reservation: &Reservation,
) {
    let mut size = Resources::default();
    size.cpu = reservation.request.parse().ok();
    match await_decision(shared, id, uid, pod, &size).await {
        Ok((_, ResizeOutcome::Deferred { message } | ResizeOutcome::Infeasible { message })) => {
            tracing::warn!(
                sandbox.id = %id, message,
                "the node of a resumed sandbox has no room for its processors; it runs with less"
            );
        }
        Ok((_, outcome)) => {
            tracing::debug!(sandbox.id = %id, ?outcome, "processors of a resumed sandbox requested");
        }
        Err(error) => {
            tracing::debug!(sandbox.id = %id, %error, "not known whether a resumed sandbox has its processors");
        }
    }
}

/// Gets the Pod of this instance.
async fn get(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    deadline: Deadline,
) -> Result<Option<Pod>> {
    let found = shared.api().get::<Pod>(id, deadline).await?;
    let pod = found.map(|(pod, _)| pod);
    Ok(pod.filter(|pod| pod.metadata.uid.as_deref() == Some(uid.as_str())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(class: &str, resources: &Value, annotation: Option<&str>) -> Pod {
        let mut pod = json!({
            "metadata": {"name": "sbx-a"},
            "spec": {"containers": [{"name": "mesh"}, {"name": "sandbox", "resources": resources}]},
            "status": {"qosClass": class},
        });
        if let Some(text) = annotation {
            pod["metadata"]["annotations"] = json!({PAUSED_CPU: text});
        }
        serde_json::from_value(pod).unwrap()
    }

    #[test]
    fn only_a_guaranteed_pod_gives_up_its_limit() {
        let resources = json!({"requests": {"cpu": "2"}, "limits": {"cpu": "2"}});
        let reduced = |class: &str| {
            let reservation = Reservation::of(&pod(class, &resources, None)).unwrap();
            let patch = reservation.reduced().to_patch(&Uid::new("p1"));
            assert_eq!(patch["metadata"]["uid"], "p1");
            patch["spec"]["containers"][0].clone()
        };
        assert_eq!(
            reduced("Guaranteed"),
            json!({"name": "sandbox", "resources": {"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}})
        );
        assert_eq!(
            reduced("Burstable"),
            json!({"name": "sandbox", "resources": {"requests": {"cpu": "10m"}}})
        );
    }

    #[test]
    fn what_is_small_or_absent_is_left_alone() {
        for (class, resources) in [
            ("Burstable", json!({"requests": {"cpu": "10m"}})),
            (
                "Guaranteed",
                json!({"requests": {"cpu": "100m"}, "limits": {"cpu": "100m"}}),
            ),
            ("Burstable", json!({"requests": {"memory": "1Gi"}})),
            ("Burstable", json!({"requests": {"cpu": "1e3m"}})),
            ("BestEffort", json!({})),
        ] {
            assert_eq!(
                Reservation::of(&pod(class, &resources, None)),
                None,
                "{resources}"
            );
        }
    }

    #[test]
    fn what_others_have_written_is_checked() {
        let read = |text: &str| Reservation::read(&pod("Burstable", &json!({}), Some(text)));
        let reservation = Reservation {
            request: "1500m".to_owned(),
            limit: Some("2".to_owned()),
        };
        let written = reservation.to_annotation();
        assert_eq!(read(written.as_str().unwrap()), Some(reservation));
        for text in [
            "",
            "{}",
            r#"{"request": "x"}"#,
            r#"{"request": "1", "limit": ""}"#,
            "[1]",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
