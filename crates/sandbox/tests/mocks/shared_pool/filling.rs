//! The filler: it creates, offers, adopts, withdraws and forgets.

use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{ExecRequest, PoolMemberState, SandboxBuilder, SandboxState, SharedPool};

use super::world::World;

async fn filler_of(world: &World, size: usize) -> SharedPool {
    let sandboxes = world.client().sandbox();
    start(world, sandboxes, size).await
}

async fn start(world: &World, sandboxes: SandboxBuilder, size: usize) -> SharedPool {
    let pool = world.client().shared_pool("ci", sandboxes).size(size);
    pool.start().await.unwrap()
}

/// Waits until everything that can happen without the passing of time has happened.
async fn settle() {
    tokio::time::sleep(Duration::from_millis(100)).await;
}

#[tokio::test(start_paused = true)]
async fn what_is_claimed_is_replaced_and_never_touched_again() {
    let world = World::default();
    let filler = filler_of(&world, 3).await;
    filler.filled().await;
    assert_eq!(world.ids(PoolMemberState::Waiting).len(), 3);
    let status = filler.status();
    assert!(status.is_leading && status.key.is_some());
    assert_eq!((status.waiting, status.claimed), (3, 0));

    let claimer = world.client();
    let sbx = claimer.sandbox().from_pool("ci").create().await.unwrap();
    settle().await;
    filler.filled().await;
    assert_eq!(filler.status().claimed, 1);
    assert_eq!((world.created(), world.deleted()), (4, 0));
    assert!(
        world.with(|state| state.evicted.contains(sbx.uid())),
        "still connected"
    );

    filler.stop().await;
    assert_eq!(world.deleted(), 0, "what waits stays for another filler");
    let pod = world.pod(sbx.id());
    assert_eq!(pod.info.pool.unwrap().state, PoolMemberState::Taken);
    // The end counts from the creation, and it may wait as long as the maximum age.
    let day = Duration::from_secs(24 * 3600);
    assert_eq!(
        pod.spec.lifetime.max_lifetime,
        day + Duration::from_secs(3600)
    );
    assert_eq!(pod.spec.lifetime.ttl, None);
}

#[tokio::test(start_paused = true)]
async fn one_of_two_fillers_fills_and_the_other_adopts() {
    let world = World::default();
    let first = filler_of(&world, 4).await;
    first.filled().await;
    let second = filler_of(&world, 4).await;
    settle().await;
    assert!(!second.status().is_leading);
    first.stop().await;
    second.filled().await;
    assert!(second.status().is_leading);
    assert_eq!((world.created(), world.deleted()), (4, 0));

    // It is elected again after it has lost its right, and adopts what it had offered before.
    world.depose();
    settle().await;
    second.filled().await;
    assert_eq!((world.created(), world.deleted()), (4, 0));
    let claimer = world.client();
    claimer.sandbox().from_pool("ci").create().await.unwrap();
    settle().await;
    second.filled().await;
    assert_eq!((world.created(), world.deleted()), (5, 0));
}

#[tokio::test(start_paused = true)]
async fn a_changed_sandbox_is_another_pool_and_the_former_drains() {
    let world = World::default();
    let first = filler_of(&world, 3).await;
    first.filled().await;
    let former = world.ids(PoolMemberState::Waiting);
    first.stop().await;

    let changed = world.client().sandbox().image("other:2");
    let second = start(&world, changed, 2).await;
    second.filled().await;
    settle().await;
    let now = world.ids(PoolMemberState::Waiting);
    assert_eq!(now.len(), 2);
    assert!(former.iter().all(|id| !now.contains(id)));
    assert_eq!(world.deleted(), 3);
    second.stop().await;

    // So is one that is set up in another way.
    let set_up = world.client().sandbox().image("other:2").env("A", "1");
    let third = start(&world, set_up, 2).await;
    third.filled().await;
    settle().await;
    assert_eq!((world.created(), world.deleted()), (7, 5));
}

#[tokio::test(start_paused = true)]
async fn what_a_killed_filler_was_creating_is_adopted_or_deleted() {
    for (needs_setup, created, deleted) in [(false, 2, 0), (true, 4, 2)] {
        let world = World::default();
        let sandboxes = || {
            let sandboxes = world.client().sandbox();
            if needs_setup {
                sandboxes.init(ExecRequest::from_argv(["true"]))
            } else {
                sandboxes
            }
        };
        world.with(|state| state.failing_offers = usize::MAX);
        let first = start(&world, sandboxes(), 2).await;
        tokio::time::sleep(Duration::from_secs(10)).await;
        assert_eq!(world.ids(PoolMemberState::Filling).len(), 2);
        first.stop().await;
        world.with(|state| state.failing_offers = 0);
        let second = start(&world, sandboxes(), 2).await;
        second.filled().await;
        settle().await;
        assert_eq!(world.ids(PoolMemberState::Waiting).len(), 2);
        assert_eq!(
            (world.created(), world.deleted()),
            (created, deleted),
            "{needs_setup}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn an_offer_that_fails_is_repeated() {
    let world = World::default();
    world.with(|state| state.failing_offers = 3);
    let filler = filler_of(&world, 2).await;
    filler.filled().await;
    assert_eq!((world.created(), world.deleted()), (2, 0));
    assert_eq!(world.ids(PoolMemberState::Waiting).len(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_does_not_answer_or_waits_too_long_is_replaced() {
    let world = World::default();
    let sandboxes = world.client().sandbox();
    let pool = world.client().shared_pool("ci", sandboxes).size(2);
    let filler = pool
        .max_age(Duration::from_secs(600))
        .start()
        .await
        .unwrap();
    filler.filled().await;
    let [silent, other] = world.ids(PoolMemberState::Waiting).try_into().unwrap();
    world.with(|state| state.silent.insert(silent.clone()));
    tokio::time::sleep(Duration::from_secs(60)).await;
    filler.filled().await;
    assert_eq!(world.with(|state| state.deleted.clone()), [silent]);

    world.with(|state| {
        let pod = state.pods.get_mut(&other).unwrap();
        pod.info.state = SandboxState::Ended;
    });
    settle().await;
    filler.filled().await;
    assert_eq!(world.deleted(), 2);

    tokio::time::sleep(Duration::from_secs(700)).await;
    filler.filled().await;
    assert_eq!((world.created(), world.deleted()), (6, 4));
}

#[tokio::test(start_paused = true)]
async fn failing_creations_are_reported_and_cause_no_storm() {
    let world = World::default();
    world.with(|state| state.failure = Some("the quota is exceeded"));
    let filler = filler_of(&world, 50).await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    // 1, 2, 4, 8, 16 and 32 seconds after each failure.
    assert_eq!(world.created(), 6);
    let problem = filler.status().problem.unwrap();
    assert!(
        problem.message.contains("the quota is exceeded"),
        "{}",
        problem.message
    );
    world.with(|state| state.failure = None);
    filler.filled().await;
    assert_eq!(filler.status().problem, None);
}

#[tokio::test(start_paused = true)]
async fn a_stopped_filler_leaves_nothing_half_created() {
    let world = World::default();
    let filler = filler_of(&world, 8).await;
    tokio::time::sleep(Duration::from_millis(700)).await;
    filler.stop().await;
    tokio::time::sleep(Duration::from_secs(60)).await;
    assert_eq!(world.ids(PoolMemberState::Filling), []);
    assert_eq!(world.client().list_pools().await.unwrap()[0].filler, None);
}

#[tokio::test(start_paused = true)]
async fn pools_are_listed_drained_and_removed() {
    let world = World::default();
    let filler = filler_of(&world, 3).await;
    filler.filled().await;
    let client = world.client();
    let sbx = client.sandbox().from_pool("ci").create().await.unwrap();
    settle().await;
    filler.filled().await;
    let [summary] = client.list_pools().await.unwrap().try_into().unwrap();
    assert_eq!(summary.name.as_str(), "ci");
    assert_eq!(
        (summary.waiting, summary.taken, summary.draining),
        (3, 1, 0)
    );
    assert_eq!(summary.filler.as_deref(), Some("host-1"));
    assert!(summary.oldest.is_some());
    filler.stop().await;

    let name = "ci".parse().unwrap();
    assert_eq!(client.drain_pool(&name).await.unwrap(), 3);
    assert_eq!(client.drain_pool(&name).await.unwrap(), 0);
    assert_eq!(client.remove_pool(&name).await.unwrap(), None);
    assert_eq!(world.ids(PoolMemberState::Taken), [sbx.id().clone()]);
}

#[tokio::test(start_paused = true)]
async fn sandboxes_that_cannot_wait_are_refused_in_words() {
    let world = World::default();
    let client = world.client();
    let sandbox = || client.sandbox();
    for (sandboxes, size, word) in [
        (sandbox().id("one"), 1, "id"),
        (sandbox().detached(), 1, "detached"),
        (sandbox().ttl(Duration::from_secs(60)), 1, "ttl"),
        (sandbox().secret_env("TOKEN", "x"), 1, "TOKEN"),
        (sandbox(), 0, "at least one"),
    ] {
        let start = client.shared_pool("ci", sandboxes).size(size).start().await;
        let message = start.unwrap_err().to_string();
        assert!(message.contains(word), "{message}");
        assert!(!message.contains("\"x\""), "{message}");
    }
    let start = client.shared_pool("Not a name", sandbox()).start().await;
    assert!(matches!(start, Err(Error::Invalid { .. })));
}
