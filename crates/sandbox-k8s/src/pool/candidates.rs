//! Which of the waiting sandboxes a claim tries, and in which order.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use sandbox_core::{PoolMemberState, PoolName, SandboxState};

use crate::observe::status::PodView;

/// Claims choose among this many of the oldest, or half of all. Clients that chose the same one would fail all but
/// one; the youngest would otherwise push the oldest beyond its age.
const MIN_CHOICE: usize = 64;

/// The sandboxes of a pool that a claim may try.
#[derive(Debug, Default)]
pub(crate) struct Candidates {
    /// In the order to try them.
    pub(crate) usable: Vec<Arc<PodView>>,
    /// The longest time that one of the others has left, if some wait that would end too soon.
    pub(crate) too_short: Option<Duration>,
}

/// Selects the sandboxes of a pool that wait and can live for `lifetime`. `now` is the API server's time.
/// `random` returns a number below its argument.
pub(crate) fn select(
    views: impl IntoIterator<Item = Arc<PodView>>,
    pool: &PoolName,
    lifetime: Duration,
    now: SystemTime,
    random: impl FnMut(usize) -> usize,
) -> Candidates {
    let mut candidates = Candidates::default();
    for view in views {
        if !is_claimable(&view, pool) {
            continue;
        }
        let left = view.ends.hard.duration_since(now).unwrap_or_default();
        if now >= view.ends.soft {
            continue;
        }
        if left < lifetime {
            candidates.too_short = candidates.too_short.max(Some(left));
        } else {
            candidates.usable.push(view);
        }
    }
    candidates
        .usable
        .sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
    shuffle_oldest(&mut candidates.usable, random);
    candidates
}

/// Whether a sandbox waits in this pool, as far as its view shows. Its filler has offered it because its server answers; a
/// kubelet may report that it runs a second later.
pub(crate) fn is_claimable(view: &PodView, pool: &PoolName) -> bool {
    let waits = view.pool.as_ref().is_some_and(|member| {
        member.pool.name == *pool && member.state == PoolMemberState::Waiting
    });
    waits && view.state != SandboxState::Ended && !view.deleting
}

/// Whether a sandbox waits no more, and never will again.
pub(crate) fn is_lost(view: &PodView) -> bool {
    use PoolMemberState::{Draining, Taken};
    let state = view.pool.as_ref().map(|member| member.state);
    view.deleting || view.state == SandboxState::Ended || matches!(state, Some(Taken | Draining))
}

fn shuffle_oldest<T>(items: &mut [T], mut random: impl FnMut(usize) -> usize) {
    let choice = items.len().div_ceil(2).max(MIN_CHOICE).min(items.len());
    for index in 0..choice {
        items.swap(index, index + random(choice - index));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::labels::membership_tests::member;
    use serde_json::{Value, json};

    fn view(change: impl FnOnce(&mut Value)) -> Arc<PodView> {
        let pod = member(|pod| {
            pod["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z");
            pod["metadata"]["annotations"]["sandbox.dev/ends-after"] = json!("3600");
            let state = json!({"running": {}});
            pod["status"] = json!({"phase": "Running", "containerStatuses": [
                {"name": "sandbox", "image": "", "imageID": "", "ready": true, "restartCount": 0, "state": state}]});
            change(pod);
        });
        Arc::new(PodView::from_pod(&pod).unwrap())
    }

    fn count(view: &Arc<PodView>, lifetime: u64, age: u64) -> (usize, Option<u64>) {
        let now = view.created_at + Duration::from_secs(age);
        let pool = "ci".parse().unwrap();
        let lifetime = Duration::from_secs(lifetime);
        let found = select([Arc::clone(view)], &pool, lifetime, now, |_| 0);
        (
            found.usable.len(),
            found.too_short.map(|left| left.as_secs()),
        )
    }

    #[test]
    fn only_a_sandbox_of_the_pool_that_waits_is_tried() {
        assert_eq!(count(&view(|_| {}), 0, 10), (1, None));
        type Change = fn(&mut Value);
        let changes: [(&str, Change); 5] = [
            ("filling", |pod| {
                pod["metadata"]["labels"]["sandbox.dev/pool-state"] = json!("filling");
            }),
            ("taken and relabelled", |pod| {
                pod["metadata"]["annotations"]["sandbox.dev/claim"] = json!("c1");
            }),
            ("being deleted", |pod| {
                pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:05Z");
            }),
            ("ended", |pod| pod["status"]["phase"] = json!("Failed")),
            ("of no pool", |pod| {
                pod["spec"]["containers"][0]["env"] = json!([]);
            }),
        ];
        for (name, change) in changes {
            assert_eq!(count(&view(change), 0, 10), (0, None), "{name}");
        }
        let other = "other".parse().unwrap();
        assert!(!is_claimable(&view(|_| {}), &other));
    }

    #[test]
    fn one_that_was_offered_before_the_kubelet_reported_its_start_is_tried() {
        let offered = view(|pod| pod["status"] = json!({"phase": "Pending"}));
        assert_eq!(count(&offered, 0, 10), (1, None));
    }

    #[test]
    fn one_that_would_end_too_soon_is_not_tried() {
        let waiting = view(|_| {});
        assert_eq!(count(&waiting, 3000, 600), (1, None));
        assert_eq!(count(&waiting, 3000, 601), (0, Some(2999)));
        assert_eq!(count(&waiting, 0, 3600), (0, None), "past its end");
    }

    #[test]
    fn the_oldest_are_tried_first_in_random_order() {
        let mut few: Vec<_> = (0..10).collect();
        shuffle_oldest(&mut few, |below| below - 1);
        assert_ne!(few, (0..10).collect::<Vec<_>>());
        let mut many: Vec<_> = (0..200).collect();
        shuffle_oldest(&mut many, |below| below - 1);
        assert!(many[..100].iter().all(|age| *age < 100));
        assert_eq!(many[100..], (100..200).collect::<Vec<_>>());
        shuffle_oldest::<u8>(&mut [], |_| panic!("nothing to choose"));
    }
}
