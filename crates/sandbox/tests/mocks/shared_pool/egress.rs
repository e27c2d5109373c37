//! Sandboxes of a pool without a network: proved while they wait, and served by whoever claims them.

use sandbox::prelude::*;
use sandbox::{CreationReason, CreationStage, Egress, PoolMemberState, PortProbe, SharedPool};

use super::world::World;

fn cluster() -> World {
    let world = World::default();
    world.with(|state| state.has_network = true);
    world
}

async fn filled(world: &World, egress: Option<Egress>) -> SharedPool {
    let client = world.client();
    let mut sandboxes = client.sandbox();
    if let Some(egress) = egress {
        sandboxes = sandboxes.egress(egress);
    }
    let filler = client.shared_pool("ci", sandboxes).start().await.unwrap();
    filler.filled().await;
    world.with(|state| {
        assert!(
            !state.calls.contains(&"listen"),
            "the filler serves nothing"
        )
    });
    filler
}

fn calls(world: &World) -> Vec<&'static str> {
    world.with(|state| std::mem::take(&mut state.calls))
}

#[tokio::test(start_paused = true)]
async fn what_waits_without_a_network_was_proved_and_is_served_at_once() {
    let world = cluster();
    let _filler = filled(&world, Some(Egress::none())).await;
    let id = world.ids(PoolMemberState::Waiting)[0].clone();
    assert!(world.pod(&id).spec.is_offline);
    assert_eq!(calls(&world), ["probe"]);
    let claim = world.client().sandbox().egress(Egress::packages());
    let sbx = claim.env("A", "1").from_pool("ci").create().await.unwrap();
    assert_eq!(*sbx.id(), id);
    assert_eq!(sbx.egress(), Some(Egress::packages()));
    assert_eq!(calls(&world)[..3], ["claim", "take over", "listen"]);
    let stored = String::from_utf8(world.pod(&id).environment).unwrap();
    for part in ["HTTPS_PROXY=http://127.0.0.1:4321\n", "A=1\n"] {
        assert!(stored.contains(part), "{stored}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_label_or_a_pool_with_a_network_is_proved_at_the_claim() {
    for (filled_with, label) in [(Some(Egress::none()), true), (None, false)] {
        let world = cluster();
        let _filler = filled(&world, filled_with).await;
        calls(&world);
        let mut claim = world.client().sandbox().egress(Egress::none());
        if label {
            claim = claim.label("team", "ml");
        }
        claim.from_pool("ci").create().await.unwrap();
        assert_eq!(
            calls(&world)[..4],
            ["claim", "take over", "probe", "listen"]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_claimed_sandbox_that_reaches_the_network_is_deleted() {
    let world = cluster();
    let _filler = filled(&world, None).await;
    let id = world.ids(PoolMemberState::Waiting)[0].clone();
    world.with(|state| state.canary = Some(PortProbe::Open));
    let claim = world.client().sandbox().egress(Egress::none());
    let refused = claim.from_pool("ci").create().await;
    let Err(Error::Creation(error)) = refused else {
        panic!("{refused:?}");
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Isolate, CreationReason::NotEnforced)
    );
    assert!(world.with(|state| state.deleted.contains(&id)));
}

#[tokio::test(start_paused = true)]
async fn a_filler_offers_nothing_that_reaches_the_network() {
    let world = cluster();
    world.with(|state| state.canary = Some(PortProbe::Open));
    let client = world.client();
    let sandboxes = client.sandbox().egress(Egress::none());
    let filler = client.shared_pool("ci", sandboxes).start().await.unwrap();
    tokio::time::sleep(std::time::Duration::from_secs(120)).await;
    assert_eq!(world.ids(PoolMemberState::Waiting), []);
    let problem = filler.status().problem.unwrap();
    assert_eq!(problem.reason, Some(CreationReason::NotEnforced));
}

#[tokio::test(start_paused = true)]
async fn rules_are_those_of_the_claim() {
    let world = cluster();
    let client = world.client();
    for sandboxes in [
        client.sandbox().egress(Egress::packages()),
        client.sandbox().egress(Egress::none()).unverified_egress(),
    ] {
        let error = client
            .shared_pool("ci", sandboxes)
            .start()
            .await
            .unwrap_err();
        assert!(matches!(error, Error::Unsupported(_)), "{error:?}");
        assert!(
            error.to_string().contains("give others at the claim"),
            "{error}"
        );
    }
}
