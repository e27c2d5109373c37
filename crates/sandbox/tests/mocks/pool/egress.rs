//! A pool of sandboxes without a network proves that while they wait.

use std::time::Duration;

use sandbox::prelude::*;
use sandbox::{CreationReason, CreationStage, Egress, OnEmpty, Pool, PortProbe};

use super::world::World;

fn cluster() -> World {
    let world = World::default();
    world.with(|state| state.has_network = true);
    world
}

fn pool(world: &World) -> Pool {
    let client = world.client();
    let sandboxes = client.sandbox().egress(Egress::packages());
    let pool = client.pool(sandboxes).on_empty(OnEmpty::Fail);
    pool.start().unwrap()
}

fn probes(world: &World) -> usize {
    world.with(|state| std::mem::take(&mut state.probes))
}

#[tokio::test(start_paused = true)]
async fn it_is_proved_while_it_waits_and_again_after_a_change_of_labels() {
    let world = cluster();
    let pool = pool(&world);
    pool.filled().await;
    assert_eq!(probes(&world), 1);
    assert!(world.with(|state| state.created[0].is_offline));
    // The one that replaces it is proved later.
    let taken = pool.take().env("A", "1").await.unwrap();
    assert_eq!(probes(&world), 0);
    assert_eq!(taken.egress(), Some(Egress::packages()));
    pool.filled().await;
    assert_eq!(probes(&world), 1);
    let ttl = Duration::from_secs(60);
    let labelled = pool.take().label("team", "ml").ttl(ttl);
    let _labelled = labelled.await.unwrap();
    // Its ttl begins after the proof.
    assert_eq!(world.with(|state| state.started.clone()), [(ttl, 0, 1)]);
    assert_eq!(probes(&world), 1);
}

#[tokio::test(start_paused = true)]
async fn what_reaches_the_network_with_its_new_labels_is_not_handed_out() {
    let world = cluster();
    let pool = pool(&world);
    pool.filled().await;
    world.with(|state| state.canary = Some(PortProbe::Open));
    let refused = pool
        .take()
        .label("team", "ml")
        .init(sandbox::ExecRequest::from_shell("x"))
        .await;
    let Err(Error::Creation(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Isolate, CreationReason::NotEnforced)
    );
    // It is deleted in the background, and nothing has run in it.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(world.deleted(), 1);
    assert!(world.with(|state| state.commands.is_empty()));
}

#[tokio::test(start_paused = true)]
async fn nothing_waits_that_reaches_the_network() {
    let world = cluster();
    world.with(|state| state.canary = Some(PortProbe::Open));
    let pool = pool(&world);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let status = pool.status();
    assert_eq!(status.waiting, 0);
    assert_eq!(
        status.problem.unwrap().reason,
        Some(CreationReason::NotEnforced)
    );
}
