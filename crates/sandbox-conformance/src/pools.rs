//! Pools of waiting sandboxes.

use std::collections::HashSet;
use std::time::Duration;

use futures_util::future::try_join_all;
use sandbox::{Client, Defaults, Error, ExecRequest, ListFilter, OnEmpty, SandboxId, SandboxState};

use crate::case::{Outcome, TestedBackend};
use crate::cases;

cases![
    a_sandbox_from_a_pool_is_an_ordinary_one,
    a_ttl_begins_after_the_commands_of_a_take,
    takes_at_once_get_different_sandboxes,
    a_waiting_sandbox_that_is_deleted_is_replaced,
    a_closed_pool_leaves_nothing,
];

/// A client whose sandboxes are attached, as those of a pool have to be: the client of the other
/// cases may create detached ones.
fn attached_client(backend: &TestedBackend) -> Client {
    let mut defaults = Defaults::default();
    defaults.lifetime.attach_timeout = Some(Duration::from_secs(45));
    backend.new_client_with(defaults)
}

const WAIT: OnEmpty = OnEmpty::Wait(Duration::from_secs(120));

async fn a_sandbox_from_a_pool_is_an_ordinary_one(backend: TestedBackend) -> Outcome {
    let mark = SandboxId::generate()?;
    let prepare = ExecRequest::from_shell("echo prepared > state");
    let client = attached_client(&backend);
    let sandboxes = client.sandbox().env("POOL", "1").init(prepare);
    let pool = client.pool(sandboxes).on_empty(WAIT).start()?;
    let sbx = pool
        .take()
        .label("mark", mark.as_str())
        .env("TAKE", "2")
        .secret_env("SECRET", "3")
        .init(ExecRequest::from_shell("echo taken >> state"))
        .ttl(Duration::from_secs(600))
        .await?;
    let outcome = async {
        let out = sbx
            .shell("echo $POOL $TAKE $SECRET; cat state")
            .output()
            .await?
            .check()?;
        assert_eq!(out.stdout, "1 2 3\nprepared\ntaken\n");
        let filter = ListFilter::from_labels([("mark".into(), mark.to_string())]);
        let found = backend.new_client().list(filter).await?;
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].id, *sbx.id());
        let left = found[0]
            .expires_at
            .unwrap()
            .duration_since(std::time::SystemTime::now())?;
        let minutes = left.as_secs() / 60;
        assert!((9..=10).contains(&minutes), "{left:?} left");
        Ok(())
    }
    .await;
    sbx.delete().await?;
    pool.close().await?;
    outcome
}

async fn a_ttl_begins_after_the_commands_of_a_take(backend: TestedBackend) -> Outcome {
    // An image's own server has one that begins with the take.
    if !backend.capabilities().server_enforces_ttl {
        return Ok(());
    }
    let client = attached_client(&backend);
    let pool = client.pool(client.sandbox()).on_empty(WAIT).start()?;
    let slow = ExecRequest::from_shell("sleep 13");
    let sbx = pool.take().ttl(Duration::from_secs(12)).init(slow).await?;
    sbx.command("true").output().await?.check()?;
    // And it ends.
    loop {
        match sbx.refresh().await {
            Err(Error::NotFound { .. }) => break,
            found => found?,
        };
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    pool.close().await?;
    sbx.delete().await?;
    Ok(())
}

async fn takes_at_once_get_different_sandboxes(backend: TestedBackend) -> Outcome {
    let client = attached_client(&backend);
    let pool = client
        .pool(client.sandbox())
        .size(3)
        .on_empty(WAIT)
        .start()?;
    pool.filled().await;
    let taken = try_join_all((0..5).map(|_| async { pool.take().await })).await?;
    let outputs = try_join_all(
        taken
            .iter()
            .map(|sbx| async { sbx.shell("ls; echo used > used").output().await?.check() }),
    );
    let outputs = outputs.await;
    let ids: HashSet<_> = taken.iter().map(|sbx| sbx.id().clone()).collect();
    try_join_all(taken.iter().map(|sbx| sbx.delete())).await?;
    pool.close().await?;
    for output in outputs? {
        assert_eq!(output.stdout, "", "it was used before");
    }
    assert_eq!(ids.len(), 5);
    Ok(())
}

async fn a_waiting_sandbox_that_is_deleted_is_replaced(backend: TestedBackend) -> Outcome {
    let mark = SandboxId::generate()?;
    let client = attached_client(&backend);
    let sandboxes = client.sandbox().label("mark", mark.as_str());
    let pool = client.pool(sandboxes).on_empty(WAIT).start()?;
    pool.filled().await;
    let other = backend.new_client();
    let filter = ListFilter::from_labels([("mark".into(), mark.to_string())]);
    let waiting = other.list(filter).await?;
    assert_eq!(waiting.len(), 1);
    other.delete_sandbox(&waiting[0].id).await?;
    let sbx = pool.take().await?;
    let outcome = async {
        assert_ne!(*sbx.id(), waiting[0].id);
        sbx.command("true").output().await?.check()?;
        Ok(())
    }
    .await;
    sbx.delete().await?;
    pool.close().await?;
    outcome
}

async fn a_closed_pool_leaves_nothing(backend: TestedBackend) -> Outcome {
    let mark = SandboxId::generate()?;
    let client = attached_client(&backend);
    let sandboxes = client.sandbox().label("mark", mark.as_str());
    let pool = client.pool(sandboxes).size(2).start()?;
    pool.filled().await;
    let sbx = pool.take().await?;
    pool.close().await?;
    assert!(matches!(pool.take().await, Err(Error::PoolEmpty { .. })));
    // What was taken is not touched; a sandbox that was being created meanwhile disappears.
    let filter = ListFilter::from_labels([("mark".into(), mark.to_string())]);
    let mut left = Vec::new();
    for _ in 0..300 {
        left = backend.list(filter.clone()).await?;
        left.retain(|info| info.state != SandboxState::Ended);
        if left.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let alive = sbx.command("true").output().await;
    sbx.delete().await?;
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(left[0].id, *sbx.id());
    alive?.check()?;
    Ok(())
}
