//! The claimer: it takes over, sets up, waits, and deletes what it cannot use.

use std::collections::HashSet;
use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{CreationReason, ExecRequest, OnEmpty, PoolMemberState, SharedPool, SharedPools};

use super::world::World;
use crate::support;

async fn filled(world: &World, size: usize) -> SharedPool {
    let client = world.client();
    let pool = client.shared_pool("ci", client.sandbox()).size(size);
    let filler = pool.start().await.unwrap();
    filler.filled().await;
    filler
}

#[tokio::test(start_paused = true)]
async fn a_claim_replaces_the_key_and_applies_what_was_asked_for() {
    let world = World::default();
    let _filler = filled(&world, 1).await;
    let client = world.client();
    let former = world.ids(PoolMemberState::Waiting)[0].clone();
    let key = world.pod(&former).authorized;
    let claim = client
        .sandbox()
        .from_pool("ci")
        .label("job", "42")
        .annotation("owner", "Ada")
        .env("A", "1");
    let sbx = claim.secret_env("B", "2").create().await.unwrap();
    assert_eq!(*sbx.id(), former);
    assert_eq!(sbx.info().labels["job"], "42");
    assert_eq!(sbx.info().annotations["owner"], "Ada");
    let pod = world.pod(&former);
    assert_ne!(pod.authorized, key);
    assert_eq!(pod.environment, b"A=1\n");
    assert_eq!(
        world.with(|state| state.calls.clone()),
        ["claim", "take over"]
    );
    sbx.command("true").output().await.unwrap();
}

/// Until it begins, the sandbox has the time of its setup more.
#[tokio::test(start_paused = true)]
async fn a_ttl_begins_after_the_initial_commands_of_the_claim() {
    let world = World::default();
    let _filler = filled(&world, 2).await;
    let ttl = Duration::from_secs(3);
    let setup = Duration::from_secs(60);
    let claim = || world.client().sandbox().create_timeout(setup).ttl(ttl);
    let slow = ExecRequest::from_shell("pip install x");
    claim().init(slow).from_pool("ci").create().await.unwrap();
    let (calls, ttls) = world.with(|state| {
        let calls = std::mem::take(&mut state.calls);
        (calls, std::mem::take(&mut state.ttls))
    });
    assert_eq!(calls, ["claim", "take over", "run", "assign", "start ttl"]);
    let longer = Some(ttl + setup);
    assert_eq!(ttls, [longer, longer, Some(ttl), Some(ttl)]);
    // Nothing takes a while.
    claim().from_pool("ci").create().await.unwrap();
    let (calls, ttls) = world.with(|state| (state.calls.clone(), state.ttls.clone()));
    assert_eq!(calls, ["claim", "take over"]);
    assert_eq!(ttls, [Some(ttl), Some(ttl)]);
}

#[tokio::test(start_paused = true)]
async fn variables_of_the_claim_are_added_to_those_of_the_pool() {
    let world = World::default();
    let client = world.client();
    let sandboxes = client.sandbox().env("A", "pool").env("B", "pool");
    let filler = client.shared_pool("ci", sandboxes).start().await.unwrap();
    filler.filled().await;
    let claim = client
        .sandbox()
        .from_pool("ci")
        .env("B", "claim\nwith lines");
    let sbx = claim.create().await.unwrap();
    let stored = world.pod(sbx.id()).environment;
    assert_eq!(stored, b"A=pool\0B=claim\nwith lines\0");
}

#[tokio::test(start_paused = true)]
async fn concurrent_claims_get_different_sandboxes() {
    let world = World::default();
    let _filler = filled(&world, 8).await;
    let mut claims = tokio::task::JoinSet::new();
    for _ in 0..20 {
        let client = world.client();
        claims.spawn(async move { client.sandbox().from_pool("ci").create().await.unwrap() });
    }
    let claimed = claims.join_all().await;
    let ids: HashSet<_> = claimed.iter().map(|sbx| sbx.id().clone()).collect();
    assert_eq!((ids.len(), world.deleted()), (20, 0));
}

#[tokio::test(start_paused = true)]
async fn an_empty_pool_fails_waits_or_creates_as_asked_for() {
    let world = World::default();
    let client = world.client();
    let claim = |on_empty| client.sandbox().from_pool("ci").on_empty(on_empty);
    let message_of = |error: Error| match error {
        Error::PoolEmpty { message, .. } => message,
        other => panic!("{other}"),
    };
    let error = claim(OnEmpty::Fail).create().await.unwrap_err();
    let message = message_of(error);
    assert!(
        message.contains("no process fills it; start one"),
        "{message}"
    );
    let limit = Duration::from_secs(7);
    let error = claim(OnEmpty::Wait(limit)).create().await.unwrap_err();
    assert!(message_of(error).contains("none became ready in 7s"));

    let sbx = client
        .sandbox()
        .image("own:1")
        .from_pool("ci")
        .on_empty(OnEmpty::Create);
    let sbx = sbx.create().await.unwrap();
    assert_eq!(sbx.info().image.as_deref(), Some("own:1"));
    assert_eq!(sbx.info().pool, None);

    // By default it waits for the filler.
    let waiting = tokio::spawn(client.sandbox().from_pool("ci").create());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let filler = filled(&world, 1).await;
    let sbx = waiting.await.unwrap().unwrap();
    assert!(sbx.info().pool.is_some());
    world.with(|state| state.failure = Some("no room"));
    client.sandbox().from_pool("ci").create().await.unwrap();
    let message = message_of(claim(OnEmpty::Fail).create().await.unwrap_err());
    assert!(message.contains("which host-1 fills"), "{message}");
    drop(filler);
}

#[tokio::test(start_paused = true)]
async fn what_describes_another_sandbox_is_refused() {
    let world = World::default();
    let client = world.client();
    let sandbox = || client.sandbox();
    for (sandbox, option) in [
        (sandbox().id("one"), "id"),
        (sandbox().image("other:1"), "image"),
        (sandbox().disk("1Gi"), "disk"),
        (sandbox().pids(9), "pids"),
        (
            sandbox().idle_timeout(Duration::from_secs(9)),
            "idle_timeout",
        ),
        (
            sandbox().backend_options("k8s", serde_json::json!({"a": 1})),
            "backend options",
        ),
    ] {
        let message = sandbox
            .from_pool("ci")
            .create()
            .await
            .unwrap_err()
            .to_string();
        assert!(message.starts_with(option), "{message}");
        assert!(
            message.contains("the sandboxes of pool ci exist already"),
            "{message}"
        );
    }
    let error = sandbox()
        .from_pool("Not a name")
        .create()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error}");
}

#[tokio::test(start_paused = true)]
async fn another_size_is_refused_before_anything_is_claimed_unless_one_may_be_created() {
    let world = World::default();
    let _filler = filled(&world, 2).await;
    let client = world.client();
    let claim = |on_empty| {
        let sandbox = client.sandbox().memory("1Gi");
        sandbox.from_pool("ci").on_empty(on_empty)
    };
    let error = claim(OnEmpty::Fail).create().await.unwrap_err();
    assert!(matches!(error, Error::Unsupported(_)), "{error}");
    assert_eq!(world.ids(PoolMemberState::Taken).len(), 0);
    let sbx = claim(OnEmpty::Create).create().await.unwrap();
    assert!(sbx.info().pool.is_some(), "with the size of its pool");
}

#[tokio::test(start_paused = true)]
async fn a_backend_without_shared_pools_says_so() {
    let mut backend = support::base_backend();
    backend.expect_shared_pools().returning(|| None);
    let client = support::client(backend, support::sessions(sandbox_core::MockSession::new()));
    let claim = client.sandbox().from_pool("ci").create().await.unwrap_err();
    let fill = client
        .shared_pool("ci", client.sandbox())
        .start()
        .await
        .unwrap_err();
    let list = client.list_pools().await.unwrap_err();
    for error in [claim, fill, list] {
        let expected = "the backend mock does not support pools that processes share: use the Kubernetes backend \
                        (SANDBOX_BACKEND=k8s), or a pool of the program's own (client.pool)";
        assert_eq!(error.to_string(), expected);
    }
}

#[tokio::test(start_paused = true)]
async fn one_that_has_ended_is_deleted_and_one_of_another_client_is_left_alone() {
    let world = World::default();
    let filler = filled(&world, 3).await;
    let [silent, other, last] = world.ids(PoolMemberState::Waiting).try_into().unwrap();
    world.with(|state| {
        state.silent.insert(silent.clone());
        state.pods.get_mut(&other).unwrap().was_claimed = true;
    });
    let client = world.client();
    let sbx = client.sandbox().from_pool("ci").create().await.unwrap();
    assert_eq!(*sbx.id(), last);
    client.settle().await;
    assert_eq!(world.with(|state| state.deleted.clone()), [silent]);
    drop(filler);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_cannot_be_claimed_is_deleted_and_no_other_is_tried() {
    let world = World::default();
    let filler = filled(&world, 3).await;
    world.with(|state| state.older_servers = true);
    for on_empty in [
        OnEmpty::Fail,
        OnEmpty::Wait(Duration::from_secs(60)),
        OnEmpty::Create,
    ] {
        let before = world.deleted();
        let claim = world.client().sandbox().from_pool("ci").on_empty(on_empty);
        let error = claim.create().await.unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error}");
        assert_eq!(world.deleted(), before + 1);
        filler.filled().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_or_dropped_claim_leaves_nothing_behind() {
    let world = World::default();
    let _filler = filled(&world, 2).await;
    let client = world.client();
    world.with(|state| state.failing_commands = true);
    let claim = client
        .sandbox()
        .from_pool("ci")
        .init(ExecRequest::from_argv(["false"]));
    let Err(Error::Creation(error)) = claim.create().await else {
        panic!("the initial command fails");
    };
    assert_eq!(error.reason, CreationReason::Setup);
    assert_eq!(world.deleted(), 1);

    // Dropped at each point at which it waits.
    let mut polls = 0;
    loop {
        let before = world.ids(PoolMemberState::Taken).len();
        let mut claim = Box::pin(client.sandbox().from_pool("ci").create());
        let mut left = polls;
        let ended = std::future::poll_fn(|context| {
            left -= 1;
            match claim.as_mut().poll(context) {
                std::task::Poll::Ready(sbx) => std::task::Poll::Ready(Some(sbx)),
                std::task::Poll::Pending if left < 0 => std::task::Poll::Ready(None),
                std::task::Poll::Pending => {
                    context.waker().wake_by_ref();
                    std::task::Poll::Pending
                }
            }
        });
        if let Some(sbx) = ended.await {
            sbx.unwrap();
            break;
        }
        drop(claim);
        client.settle().await;
        assert_eq!(
            world.ids(PoolMemberState::Taken).len(),
            before,
            "after {polls} polls"
        );
        tokio::time::sleep(Duration::from_secs(10)).await;
        polls += 1;
    }
    assert!(polls > 0);
}

#[tokio::test(start_paused = true)]
async fn the_key_of_a_detached_claim_is_stored_before_the_sandbox_is_taken_over() {
    let world = World::default();
    let _filler = filled(&world, 2).await;
    let client = world.client();
    let claim = || client.sandbox().from_pool("ci").detached();
    let sbx = claim().create().await.unwrap();
    let calls = world.with(|state| std::mem::take(&mut state.calls));
    assert_eq!(calls, ["claim", "store", "take over"]);
    // Another process finds it.
    world.client().connect(sbx.id()).await.unwrap();

    world.with(|state| state.failing_stores = 1);
    let error = claim().create().await.unwrap_err();
    assert!(matches!(error, Error::Backend { .. }), "{error}");
    assert_eq!(
        (world.deleted(), world.with(|state| state.calls.len())),
        (1, 2)
    );
}

#[tokio::test(start_paused = true)]
async fn a_claimer_alone_never_sees_a_sandbox_that_is_still_being_created() {
    let world = World::default();
    let client = world.client();
    world.with(|state| state.failing_offers = usize::MAX);
    let pool = client.shared_pool("ci", client.sandbox()).size(2);
    let _filler = pool.start().await.unwrap();
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(world.members(None).await.unwrap().len(), 2);
    let claim = client.sandbox().from_pool("ci").on_empty(OnEmpty::Fail);
    assert!(matches!(claim.create().await, Err(Error::PoolEmpty { .. })));
}
