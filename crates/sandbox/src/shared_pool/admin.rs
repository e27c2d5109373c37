//! Lists, drains and removes shared pools.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use sandbox_core::{
    DeleteOptions, PoolKey, PoolMemberState, PoolName, Result, SandboxInfo, SandboxState,
};

use super::pools_of;
use super::status::PoolSummary;
use crate::parts::Parts;

/// How many sandboxes are deleted at once.
const CONCURRENCY: usize = 32;

/// Lists the shared pools, by name and key.
pub(crate) async fn list(parts: &Parts) -> Result<Vec<PoolSummary>> {
    let pools = pools_of(parts)?;
    let (members, leaders) = tokio::try_join!(pools.members(None), pools.leaders())?;
    let mut summaries: BTreeMap<(PoolName, Option<String>), PoolSummary> = BTreeMap::new();
    let mut summary_of = |name: &PoolName, key: Option<&PoolKey>, change: &dyn Fn(&mut _)| {
        let index = (name.clone(), key.map(ToString::to_string));
        change(
            summaries
                .entry(index)
                .or_insert_with(|| PoolSummary::new(name.clone(), key.cloned())),
        );
    };
    for info in &members {
        if let Some(member) = &info.pool {
            summary_of(&member.name, Some(&member.key), &|summary| {
                count(summary, member.state, info);
            });
        }
    }
    for leader in leaders {
        summary_of(&leader.name, leader.key.as_ref(), &|summary| {
            summary.filler = leader.holder.clone().filter(|_| leader.is_current);
        });
    }
    Ok(summaries.into_values().collect())
}

fn count(summary: &mut PoolSummary, state: PoolMemberState, info: &SandboxInfo) {
    if info.state == SandboxState::Ended {
        // It is neither of use nor in the way, until it is deleted.
        summary.draining += 1;
        return;
    }
    match state {
        PoolMemberState::Waiting => {
            summary.waiting += 1;
            let oldest = summary
                .oldest
                .map_or(info.created_at, |oldest| oldest.min(info.created_at));
            summary.oldest = Some(oldest);
        }
        PoolMemberState::Filling => summary.filling += 1,
        PoolMemberState::Taken => summary.taken += 1,
        PoolMemberState::Draining => summary.draining += 1,
    }
}

/// Withdraws and deletes everything that waits in a pool, or is left of it. With `all` also what a filler is
/// creating, or was. Returns how many were deleted.
pub(crate) async fn drain(parts: &Arc<Parts>, name: &PoolName, all: bool) -> Result<usize> {
    let pools = pools_of(parts)?;
    let members = pools.members(Some(name.clone())).await?;
    let removals = members.into_iter().map(|info| {
        let (parts, pools) = (Arc::clone(parts), Arc::clone(&pools));
        async move {
            let is_removable = match info.pool.as_ref().map(|member| member.state) {
                Some(PoolMemberState::Waiting) => pools.withdraw(&info.id, &info.uid).await?,
                // It may have been offered and claimed meanwhile.
                Some(PoolMemberState::Filling) if all => {
                    pools.withdraw(&info.id, &info.uid).await?
                }
                Some(PoolMemberState::Draining) => true,
                Some(PoolMemberState::Filling | PoolMemberState::Taken) | None => false,
            };
            if is_removable {
                let options = DeleteOptions::for_instance(info.uid);
                parts.delete(&info.id, options).await?;
            }
            Ok(usize::from(is_removable))
        }
    });
    let results: Vec<Result<usize>> = stream::iter(removals)
        .buffer_unordered(CONCURRENCY)
        .collect()
        .await;
    results.into_iter().sum()
}

/// Deletes what waits in a pool or was being created for it, and what the election of its filler has left.
/// Returns how many sandboxes were deleted.
pub(crate) async fn remove(parts: &Arc<Parts>, name: &PoolName) -> Result<Option<usize>> {
    let drained = drain(parts, name, true).await?;
    let had_rest = pools_of(parts)?.remove(name).await?;
    Ok((drained > 0 || had_rest).then_some(drained))
}
