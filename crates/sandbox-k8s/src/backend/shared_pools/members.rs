//! Offers, withdraws and lists the sandboxes of shared pools.

use std::collections::BTreeMap;
use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{
    Deadline, Error, PoolMemberState, PoolName, Result, SandboxId, SandboxInfo, Uid,
};

use crate::api::client::LOOKUP_TIMEOUT;
use crate::api::json_patch::Patched;
use crate::backend::shared::Shared;
use crate::manifest::labels;
use crate::names::{BACKEND, POOL, POOL_STATE};
use crate::observe::status::{PodView, managed_view};
use crate::pool::patches;

/// How often a change is tried that others get in the way of.
const MAX_ATTEMPTS: u32 = 5;

/// Makes a sandbox claimable; `false` if it does not exist any more, or does not fill.
pub(super) async fn offer(shared: &Shared, id: &SandboxId, uid: &Uid) -> Result<bool> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    for _ in 0..MAX_ATTEMPTS {
        match shared
            .api()
            .json_patch::<Pod>(id, &patches::offer(uid), deadline)
            .await?
        {
            Patched::Applied(pod) => return Ok(record(shared, &pod)),
            Patched::Missing => return Ok(false),
            Patched::NotApplied => {}
        }
        // The response to an earlier attempt may have been lost, and another process may have claimed it since.
        match read_state(shared, id, uid).await? {
            Some(PoolMemberState::Waiting | PoolMemberState::Taken) => return Ok(true),
            Some(PoolMemberState::Draining) | None => return Ok(false),
            Some(PoolMemberState::Filling) => {}
        }
    }
    Err(not_accepted("offer a sandbox of a pool"))
}

/// Takes a sandbox out of its pool; `false` if it was claimed, or does not exist any more.
pub(super) async fn withdraw(shared: &Shared, id: &SandboxId, uid: &Uid) -> Result<bool> {
    let deadline = Deadline::from_now(LOOKUP_TIMEOUT);
    let found = shared.watch.find(id).await?;
    let mut state = found.and_then(|view| state_of(&view, uid));
    for _ in 0..MAX_ATTEMPTS {
        let from = match state {
            Some(from @ (PoolMemberState::Filling | PoolMemberState::Waiting)) => from,
            Some(PoolMemberState::Draining) => return Ok(true),
            Some(PoolMemberState::Taken) | None => return Ok(false),
        };
        let patch = patches::withdraw(uid, from);
        match shared.api().json_patch::<Pod>(id, &patch, deadline).await? {
            Patched::Applied(pod) => return Ok(record(shared, &pod)),
            Patched::Missing => return Ok(false),
            Patched::NotApplied => state = read_state(shared, id, uid).await?,
        }
    }
    Err(not_accepted("withdraw a sandbox from its pool"))
}

/// Lists the sandboxes of a pool or of all, oldest first.
pub(super) async fn list(shared: &Shared, name: Option<&PoolName>) -> Result<Vec<SandboxInfo>> {
    let mut infos: Vec<_> = views(shared, name, None)
        .await?
        .iter()
        .filter(|view| {
            let pool = view.pool.as_ref().map(|member| &member.pool.name);
            pool.is_some_and(|pool| name.is_none_or(|name| name == pool))
        })
        .map(|view| view.info())
        .collect();
    infos.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    Ok(infos)
}

/// Returns the sandboxes of a pool: from the watch, or while there is none, by a request. There may be others among
/// them.
pub(super) async fn views(
    shared: &Shared,
    name: Option<&PoolName>,
    state: Option<PoolMemberState>,
) -> Result<Vec<Arc<PodView>>> {
    if let Some(views) = shared.watch.live_views() {
        return Ok(views);
    }
    let name = name.map(|name| (POOL, name.as_str()));
    let state = state.map(|state| (POOL_STATE, state.as_str()));
    let selected = name.into_iter().chain(state);
    let selected: BTreeMap<_, _> = selected
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    let selector = labels::selector_with(&selected);
    let keep = |pod: Pod| managed_view(&pod).map(Arc::new);
    let (views, _) = shared.api().list(&selector, LOOKUP_TIMEOUT, keep).await?;
    Ok(views)
}

/// Reads the state of a sandbox in its pool from the API server; `None` if this instance is gone or in no pool.
async fn read_state(shared: &Shared, id: &SandboxId, uid: &Uid) -> Result<Option<PoolMemberState>> {
    let view = shared.watch.fetch(id).await?;
    Ok(view.and_then(|view| state_of(&view, uid)))
}

fn state_of(view: &PodView, uid: &Uid) -> Option<PoolMemberState> {
    let member = view.pool.as_ref()?;
    (view.uid == *uid && !view.deleting).then_some(member.state)
}

/// Records a Pod that was changed; `false` if it is no sandbox any more.
fn record(shared: &Shared, pod: &Pod) -> bool {
    let view = managed_view(pod);
    let is_sandbox = view.is_some();
    if let Some(view) = view {
        shared.watch.record_write(view);
    }
    is_sandbox
}

/// The error of a change that the API server never applies, although the sandbox is in the expected state.
pub(super) fn not_accepted(operation: &'static str) -> Error {
    Error::Backend {
        backend: BACKEND,
        operation,
        message: "the API server does not apply the change, although the sandbox is in the expected state; check the \
                  admission webhooks of the cluster"
            .into(),
        transient: true,
        source: None,
    }
}
