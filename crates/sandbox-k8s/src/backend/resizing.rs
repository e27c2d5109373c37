//! Gives a running sandbox another size, with the subresource `pods/resize`, which is stable since
//! Kubernetes 1.35 and on by default since 1.33. <https://kep.k8s.io/1287>

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Deadline, Error, ResizeOutcome, Resized, Resources, Result, SandboxId, SandboxInfo, Uid,
};
use tokio::time::sleep;

use crate::api::client::LOOKUP_TIMEOUT;
use crate::backend::shared::Shared;
use crate::observe::status::managed_view;
use crate::pool::resize;

/// How long the node may take to say whether it can. A kubelet decides in its next look at the Pod, usually within a
/// second.
const DECISION_TIMEOUT: Duration = Duration::from_secs(10);
/// The first pause between two looks at the Pod, which doubles, and the longest one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Checks whether a sandbox could get this size, before one is claimed.
pub(super) async fn check(shared: &Shared, size: &Resources) -> Result<()> {
    resize::check_resizable(size)?;
    if has_resize(shared, Deadline::from_now(LOOKUP_TIMEOUT)).await? {
        return Ok(());
    }
    Err(Error::unsupported_because(
        "another size for a sandbox that runs",
        "this cluster",
        "its API server has no pods/resize, which is stable since Kubernetes 1.35",
        "ask for the pool's size, and set it where the pool is filled",
    ))
}

/// Returns whether the API server can resize running Pods, which it is asked once.
pub(super) async fn has_resize(shared: &Shared, deadline: Deadline) -> Result<bool> {
    let has_resize = shared
        .has_resize
        .get_or_try_init(|| shared.api().has_pod_resize(deadline));
    has_resize.await.copied()
}

/// Resizes a claimed sandbox, and waits for its node's decision.
pub(super) async fn resize(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    size: &Resources,
) -> Result<Resized> {
    let not_found = || Error::NotFound { id: id.clone() };
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let found = shared.api().get::<Pod>(id, deadline).await?;
    let (pod, _) = found
        .filter(|(pod, _)| pod.metadata.uid.as_deref() == Some(uid.as_str()))
        .ok_or_else(not_found)?;
    let patch = resize::resize_patch(uid, &pod, size);
    let resized = shared.api().resize_pod(id, &patch, deadline).await?;
    let pod = resized.ok_or_else(not_found)?;
    let (pod, outcome) = await_decision(shared, id, uid, pod, size).await?;
    Ok(Resized::new(describe(shared, &pod, id)?, outcome))
}

/// Waits for what the node decides about a resize that the API server has accepted.
pub(super) async fn await_decision(
    shared: &Shared,
    id: &SandboxId,
    uid: &Uid,
    mut pod: Pod,
    size: &Resources,
) -> Result<(Pod, ResizeOutcome)> {
    let decision = Deadline::from_now(DECISION_TIMEOUT);
    let mut pause = FIRST_PAUSE;
    loop {
        let outcome = resize::read_outcome(&pod, size);
        let is_open = matches!(outcome, ResizeOutcome::Unconfirmed { .. });
        if !is_open || decision.remaining() < pause {
            return Ok((pod, outcome));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        match shared.api().get::<Pod>(id, decision).await {
            Ok(Some((found, _))) if found.metadata.uid.as_deref() == Some(uid.as_str()) => {
                pod = found;
            }
            Ok(_) => return Err(Error::NotFound { id: id.clone() }),
            // The size was accepted. That it is not known to be applied is what the outcome says.
            Err(error) => {
                tracing::debug!(sandbox.id = %id, %error, "resize not confirmed");
            }
        }
    }
}

fn describe(shared: &Shared, pod: &Pod, id: &SandboxId) -> Result<SandboxInfo> {
    let view = managed_view(pod).ok_or_else(|| Error::NotFound { id: id.clone() })?;
    let info = view.info();
    shared.watch.record_write(view);
    Ok(info)
}
