//! Pausing a sandbox, and resuming it.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::cases;
use crate::ends::assert_ends_in;
use crate::support::World;

cases![
    pausing_keeps_it_until_it_is_resumed,
    the_timeout_pauses_if_asked_to,
];

async fn state(world: &World, id: &str) -> String {
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await
        .json();
    info["state"]
        .as_str()
        .unwrap_or_else(|| panic!("{info}"))
        .to_owned()
}

async fn pausing_keeps_it_until_it_is_resumed() {
    let world = World::start().await;
    let id = world.create(json!({"timeout": 600})).await;
    let path = format!("/sandboxes/{id}");
    let pause_path = format!("{path}/pause");
    let pause = || world.send(Method::POST, &pause_path, None);
    let paused = pause().await;
    assert_eq!(paused.status, StatusCode::NO_CONTENT, "{paused:?}");
    assert!(pause().await.error(409).contains("already paused"));
    assert_eq!(state(&world, &id).await, "paused");
    let listed = world
        .send(Method::GET, "/v2/sandboxes?state=paused", None)
        .await
        .json();
    assert_eq!(listed[0]["sandboxID"], id);
    let set = world
        .send(
            Method::POST,
            &format!("{path}/timeout"),
            Some(json!({"timeout": 60})),
        )
        .await;
    set.error(404);
    for (expected, timeout) in [(StatusCode::CREATED, 700), (StatusCode::OK, 60)] {
        let body = json!({"timeout": timeout});
        let connected = world
            .send(Method::POST, &format!("{path}/connect"), Some(body))
            .await;
        assert_eq!(connected.status, expected, "{connected:?}");
        assert_eq!(state(&world, &id).await, "running");
        assert_ends_in(&world.send(Method::GET, &path, None).await.json(), 700);
    }
    let body = json!({"memory": false});
    world
        .send(Method::POST, &format!("{path}/pause"), Some(body))
        .await
        .error(400);
    // A paused one can be killed.
    pause().await;
    assert_eq!(
        world.send(Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    world
        .send(Method::POST, &format!("{path}/pause"), None)
        .await
        .error(404);
}

async fn the_timeout_pauses_if_asked_to() {
    let world = World::start().await;
    let brief = world.create(json!({"timeout": 2, "autoPause": true})).await;
    let ended = world
        .create(json!({"timeout": 600, "autoPause": true}))
        .await;
    let info = world
        .send(Method::GET, &format!("/sandboxes/{ended}"), None)
        .await
        .json();
    assert_eq!(info["lifecycle"]["onTimeout"], "pause");
    let over = json!({"timeout": 0});
    let set = world
        .send(
            Method::POST,
            &format!("/sandboxes/{ended}/timeout"),
            Some(over),
        )
        .await;
    assert_eq!(set.status, StatusCode::NO_CONTENT);
    for id in [&ended, &brief] {
        for attempt in 0.. {
            if state(&world, id).await == "paused" {
                break;
            }
            assert!(attempt < 100, "{id} is not paused");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // The backend knows the end to the millisecond. The sandbox's server may take a second longer, and a sandbox that
        // still runs is extended, not resumed.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        let path = format!("/v2/sandboxes/{id}/connect");
        let resumed = world
            .send(Method::POST, &path, Some(json!({"timeout": 60})))
            .await;
        assert_eq!(resumed.status, StatusCode::CREATED, "{resumed:?}");
        assert_eq!(state(&world, id).await, "running");
    }
    world.clean_up().await;
}
