//! Pools, on a backend that counts and a clock that is stepped.

mod egress;
mod world;

use std::collections::{BTreeMap, HashSet};
use std::future::IntoFuture;
use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{CreationReason, ExecRequest, Lifetime, OnEmpty, Pool, SandboxSpec};

use self::world::World;

fn pool(world: &World, size: usize, on_empty: OnEmpty) -> Pool {
    let client = world.client();
    let sandboxes = client.sandbox().ttl(Duration::from_secs(600));
    let pool = client.pool(sandboxes).size(size).on_empty(on_empty);
    pool.start().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_taken_sandbox_is_replaced_and_never_returns() {
    let world = World::default();
    let pool = pool(&world, 3, OnEmpty::Fail);
    pool.filled().await;
    assert_eq!(world.created(), 3);
    let oldest = world.with(|state| state.created[0].id.clone().unwrap());

    let sbx = pool
        .take()
        .label("team", "ml")
        .annotation("owner", "Ada")
        .await
        .unwrap();
    assert_eq!(*sbx.id(), oldest);
    assert_eq!(sbx.info().annotations["owner"], "Ada");
    assert_eq!(sbx.info().labels["team"], "ml");
    let (id, assignment) = world.with(|state| state.assigned[0].clone());
    assert_eq!(id, oldest);
    assert_eq!(
        assignment.labels,
        BTreeMap::from([("team".to_owned(), "ml".to_owned())])
    );
    // The ttl counts from the take.
    assert_eq!(assignment.ttl, Some(Duration::from_secs(600)));
    assert_eq!(world.with(|state| state.created[0].lifetime.ttl), None);

    drop(sbx);
    pool.filled().await;
    assert_eq!((world.created(), world.deleted()), (4, 0));
    let status = pool.status();
    assert_eq!((status.hits, status.misses), (1, 0));
    assert_eq!(status.hit_rate(), Some(1.0));

    pool.close().await.unwrap();
    assert_eq!(world.deleted(), 3);
    assert!(matches!(pool.take().await, Err(Error::PoolEmpty { .. })));
}

#[tokio::test(start_paused = true)]
async fn a_ttl_begins_after_the_commands_of_the_take() {
    let world = World::default();
    let pool = pool(&world, 2, OnEmpty::Fail);
    pool.filled().await;
    let ttl = Duration::from_secs(3);
    let take = pool.take().label("team", "ml").ttl(ttl);
    let slow = ExecRequest::from_shell("pip install x");
    let _sbx = take.init(slow).await.unwrap();
    let assigned = world.with(|state| std::mem::take(&mut state.assigned));
    let ttls: Vec<_> = assigned.iter().map(|(_, one)| one.ttl).collect();
    assert_eq!(ttls, [None, Some(ttl)]);
    assert_eq!(world.with(|state| state.started.clone()), [(ttl, 1, 0)]);
    // Otherwise it is written with the labels.
    let _sbx = pool.take().label("team", "ml").ttl(ttl).await.unwrap();
    let assigned = world.with(|state| state.assigned.clone());
    assert_eq!((assigned.len(), assigned[0].1.ttl), (1, Some(ttl)));
}

#[tokio::test(start_paused = true)]
async fn variables_and_commands_of_the_take_are_added_to_those_of_the_pool() {
    let world = World::default();
    let client = world.client();
    let sandboxes = client.sandbox().env("A", "1").secret_env("B", "2");
    let pool = client.pool(sandboxes).start().unwrap();
    pool.filled().await;
    let take = pool.take().env("C", "3").secret_env("D", "4");
    let _sbx = take.init(ExecRequest::from_argv(["true"])).await.unwrap();
    let command = world.with(|state| state.commands[0].clone());
    let names: Vec<_> = command
        .env
        .iter()
        .map(|(name, _)| name.to_owned())
        .collect();
    assert_eq!(names, ["A", "B", "C", "D"]);
}

#[tokio::test(start_paused = true)]
async fn an_ended_sandbox_is_never_handed_out() {
    let world = World::default();
    let pool = pool(&world, 2, OnEmpty::Fail);
    pool.filled().await;
    // The pool does not know it yet.
    let ids = world.with(|state| {
        let id = state.created[0].id.clone().unwrap();
        state.ended.insert(id);
        state
            .created
            .iter()
            .map(|spec| spec.id.clone().unwrap())
            .collect::<Vec<_>>()
    });
    let sbx = pool.take().await.unwrap();
    assert_eq!(*sbx.id(), ids[1]);
    pool.filled().await;
    assert_eq!((world.created(), world.deleted()), (4, 1));

    // The next one ends after the look, while it is set up.
    world.with(|state| state.loses_transfer = true);
    let sbx = pool.take().env("A", "1").await.unwrap();
    let third = world.with(|state| state.created[2].id.clone().unwrap());
    assert_ne!(*sbx.id(), third);
    pool.filled().await;
    assert_eq!((world.created(), world.deleted()), (6, 2));

    // It finds out by itself about those that are not taken.
    world.with(|state| {
        let id = state.created[4].id.clone().unwrap();
        state.ended.insert(id);
    });
    tokio::time::sleep(Duration::from_secs(30)).await;
    pool.filled().await;
    assert_eq!((world.created(), world.deleted()), (7, 3));
}

#[tokio::test(start_paused = true)]
async fn failing_creations_are_reported_and_cause_no_storm() {
    let world = World::default();
    world.with(|state| state.failure = Some("the quota is exceeded"));
    let pool = pool(&world, 50, OnEmpty::Fail);
    tokio::time::sleep(Duration::from_secs(60)).await;
    // 1, 2, 4, 8, 16 and 32 seconds after each failure.
    assert_eq!(world.created(), 6);
    let problem = pool.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::Quota));
    assert_eq!(problem.failures, 6);
    let Err(Error::PoolEmpty { message, reason }) = pool.take().await else {
        panic!("it cannot succeed");
    };
    assert_eq!(reason, Some(CreationReason::Quota));
    assert!(message.contains("the quota is exceeded"), "{message}");

    world.with(|state| state.failure = None);
    pool.filled().await;
    assert_eq!(pool.status().problem, None);
    assert_eq!(world.created(), 56);
}

#[tokio::test(start_paused = true)]
async fn sandboxes_without_room_are_held() {
    let world = World::default();
    world.with(|state| state.is_full = true);
    let pool = pool(&world, 2, OnEmpty::Fail);
    // Longer than the timeout of a creation.
    tokio::time::sleep(Duration::from_secs(1800)).await;
    assert_eq!((world.created(), world.deleted()), (1, 0));
    let problem = pool.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::Unschedulable));
    assert_eq!(problem.failures, 0);
    assert!(problem.message.contains("0/3 nodes"), "{problem:?}");
    assert!(world.with(|state| state.created[0].waits_for_room));
}

#[tokio::test(start_paused = true)]
async fn a_sandbox_that_does_not_start_is_explained_and_replaced() {
    let world = World::default();
    world.with(|state| state.is_stuck = true);
    let client = world.client();
    let sandboxes = client.sandbox().create_timeout(Duration::from_secs(20));
    let pool = client.pool(sandboxes).start().unwrap();
    pool_failures(&pool, 1).await;
    let problem = pool.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::Other));
    assert!(
        problem.message.contains("secret \"s\" not found"),
        "{problem:?}"
    );
    assert_eq!((world.created(), world.deleted()), (1, 1));
    world.with(|state| state.is_stuck = false);
    pool.filled().await;
}

#[tokio::test(start_paused = true)]
async fn takes_wait_in_their_order() {
    let world = World::default();
    let pool = pool(&world, 1, OnEmpty::Wait(Duration::from_secs(10)));
    let takes = (0..5).map(|_| tokio::spawn(pool.take().into_future()));
    let mut ids = Vec::new();
    for take in takes.collect::<Vec<_>>() {
        ids.push(take.await.unwrap().unwrap().id().clone());
    }
    let created = world.with(|state| {
        state
            .created
            .iter()
            .map(|spec| spec.id.clone().unwrap())
            .take(5)
            .collect::<Vec<_>>()
    });
    assert_eq!(ids, created);
    assert!(ids.iter().collect::<HashSet<_>>().len() == 5);

    world.with(|state| state.failure = Some("the quota is exceeded"));
    pool.filled().await;
    let _last = pool.take().await.unwrap();
    let error = pool.take().await.unwrap_err().to_string();
    assert!(error.contains("none became ready in 10s"), "{error}");
    assert!(error.contains("the quota is exceeded"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_creates_by_default() {
    let world = World::default();
    let pool = pool(&world, 1, OnEmpty::Create);
    let sbx = pool.take().label("team", "ml").await.unwrap();
    let spec = world.with(|state| {
        let is_own = |spec: &&SandboxSpec| spec.id.as_ref() == Some(sbx.id());
        state.created.iter().find(is_own).unwrap().clone()
    });
    assert_eq!(spec.labels["team"], "ml");
    assert_eq!(spec.lifetime.ttl, Some(Duration::from_secs(600)));
    assert_eq!(spec.lifetime.max_lifetime, Lifetime::DEFAULT_MAX);
    assert_eq!(pool.status().misses, 1);
}

#[tokio::test(start_paused = true)]
async fn an_old_sandbox_is_replaced() {
    let world = World::default();
    let client = world.client();
    let builder = client
        .pool(client.sandbox())
        .max_age(Duration::from_secs(60));
    let pool = builder.start().unwrap();
    pool.filled().await;
    tokio::time::sleep(Duration::from_secs(90)).await;
    pool.filled().await;
    assert_eq!((world.created(), world.deleted()), (2, 1));
}

#[tokio::test(start_paused = true)]
async fn the_size_follows_the_demand() {
    let world = World::default();
    let client = world.client();
    let builder = client.pool(client.sandbox()).sizes(1..=20);
    let pool = builder.start().unwrap();
    pool.filled().await;
    for _ in 0..10 {
        let _sbx = pool.take().await.unwrap();
    }
    pool.filled().await;
    let status = pool.status();
    assert!((2..=20).contains(&status.target), "{status:?}");
    // After five minutes without a take, the surplus is deleted.
    tokio::time::sleep(Duration::from_secs(400)).await;
    assert_eq!((pool.status().waiting, pool.status().target), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_dropped_pool_or_take_leaves_nothing() {
    let world = World::default();
    let pool = pool(&world, 4, OnEmpty::Wait(Duration::from_secs(60)));
    pool.filled().await;
    for _ in 0..4 {
        let _sbx = pool.take().await.unwrap();
    }
    // This take is dropped before the sandbox that is created for it is ready, which is then one
    // too many.
    let dropped = tokio::time::timeout(Duration::from_millis(10), pool.take().into_future()).await;
    assert!(dropped.is_err());
    pool.filled().await;
    // All were created at the same time.
    tokio::time::sleep(Duration::from_millis(10)).await;
    assert_eq!((pool.status().waiting, world.deleted()), (4, 1));
    let created = world.created();

    drop(pool);
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!((world.created(), world.deleted()), (created, 5));
}

#[tokio::test]
async fn invalid_pools_are_refused() {
    let client = World::default().client();
    let message = |builder: sandbox::PoolBuilder| builder.start().unwrap_err().to_string();
    let pool = || client.pool(client.sandbox());
    assert!(message(pool().size(0)).contains("at least one sandbox"));
    #[expect(clippy::reversed_empty_ranges, reason = "it is refused")]
    let reversed = pool().sizes(3..=2);
    assert!(message(reversed).contains("3..=2"));
    assert!(message(pool().concurrency(0)).contains("concurrency"));
    assert!(message(pool().max_age(Duration::ZERO)).contains("max_age"));
    assert!(message(client.pool(client.sandbox().id("a"))).contains("leave the id out"));
    assert!(message(client.pool(client.sandbox().detached())).contains("detached"));
    assert!(message(client.pool(client.sandbox().cpu("many"))).contains("many"));
    let pool = pool().start().unwrap();
    let error = pool.take().label("sandbox.dev/x", "y").await.unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn creations_that_fail_together_lengthen_the_wait_once() {
    let world = World::default();
    let pool = pool(&world, 8, OnEmpty::Fail);
    pool.filled().await;
    world.with(|state| state.failure = Some("the API server is away"));
    for _ in 0..8 {
        let _sbx = pool.take().await.unwrap();
    }
    pool_failures(&pool, 8).await;
    let first = world.created();
    world.with(|state| state.failure = None);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert!(
        world.created() > first,
        "the next attempt comes within seconds"
    );
    pool.filled().await;
}

#[tokio::test(start_paused = true)]
async fn waiting_sandboxes_survive_an_outage_of_the_backend() {
    let world = World::default();
    let pool = pool(&world, 2, OnEmpty::Fail);
    pool.filled().await;
    world.with(|state| state.is_away = true);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!((pool.status().waiting, world.deleted()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_take_does_not_wait_for_a_backend_that_does_not_answer() {
    let world = World::default();
    let client = world.client();
    let builder = client.pool(client.sandbox()).on_empty(OnEmpty::Fail);
    let pool = builder.start().unwrap();
    pool.filled().await;
    world.with(|state| state.is_silent = true);
    let begun = tokio::time::Instant::now();
    let sbx = pool.take().secret_env("TOKEN", "t").await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(2));
    assert!(world.with(|state| !state.deleted.contains(sbx.id())));
}

/// Waits until so many creations have failed.
async fn pool_failures(pool: &Pool, count: u32) {
    let mut changes = pool.changes();
    changes
        .wait_for(|status| {
            let problem = status.problem.as_ref();
            problem.is_some_and(|problem| problem.failures >= count)
        })
        .await
        .unwrap();
}
