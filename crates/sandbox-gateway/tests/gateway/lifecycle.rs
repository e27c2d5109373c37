//! From the creation of a sandbox to its end.

use http::{Method, StatusCode};
use jiff::Timestamp;
use serde_json::json;

use crate::cases;
use crate::ends::{assert_ends_in, end_of};
use crate::support::World;

cases![
    info_has_what_clients_need,
    the_timeout_sets_the_end_exactly,
    connecting_only_postpones_the_end,
    killing_ends_it_once,
    the_timeout_kills,
    it_outlives_its_gateway,
    logs_and_metrics_are_shown,
    what_does_not_exist_is_said_in_words,
];

async fn info_has_what_clients_need() {
    let world = World::start().await;
    let body = json!({"metadata": {"a b": "c&d"}, "timeout": 120, "network": {"allowPublicTraffic": false}});
    let created = world
        .send(Method::POST, "/v2/sandboxes", Some(body))
        .await
        .json();
    assert_eq!(created["trafficAccessToken"].as_str().unwrap().len(), 64);
    assert_ne!(created["trafficAccessToken"], created["envdAccessToken"]);
    let id = created["sandboxID"].as_str().unwrap();
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await
        .json();
    assert_eq!(info["state"], "running");
    assert_eq!(info["metadata"], json!({"a b": "c&d"}));
    assert_eq!(
        info["lifecycle"],
        json!({"autoResume": false, "onTimeout": "kill"})
    );
    assert_eq!(info["network"], json!({"allowPublicTraffic": false}));
    for number in ["cpuCount", "memoryMB", "diskSizeMB"] {
        assert!(info[number].is_u64(), "{info}");
    }
    assert_ends_in(&info, 120);
    // What a sandbox has started at is what it is found by.
    let started_at = info["startedAt"].as_str().unwrap();
    let found = world
        .send(
            Method::GET,
            &format!("/v2/sandboxes?startedAfter={started_at}"),
            None,
        )
        .await
        .json();
    assert_eq!(found[0]["startedAt"], info["startedAt"]);
    assert!(
        info.as_object()
            .unwrap()
            .values()
            .all(|value| !value.is_null()),
        "{info}"
    );
    world.clean_up().await;
}

async fn the_timeout_sets_the_end_exactly() {
    let world = World::start().await;
    let id = world.create(json!({"timeout": 600})).await;
    let path = format!("/sandboxes/{id}");
    for seconds in [60, 1200, 30] {
        let set = world
            .send(
                Method::POST,
                &format!("{path}/timeout"),
                Some(json!({"timeout": seconds})),
            )
            .await;
        assert_eq!(set.status, StatusCode::NO_CONTENT, "{set:?}");
        assert_ends_in(&world.send(Method::GET, &path, None).await.json(), seconds);
    }
    world
        .send(Method::POST, &format!("{path}/timeout"), Some(json!({})))
        .await
        .error(400);
    let over = world
        .send(
            Method::POST,
            &format!("{path}/timeout"),
            Some(json!({"timeout": 0})),
        )
        .await;
    assert_eq!(over.status, StatusCode::NO_CONTENT);
    world.wait_until_gone(&id).await;
    world
        .send(
            Method::POST,
            &format!("{path}/timeout"),
            Some(json!({"timeout": 60})),
        )
        .await
        .error(404);
}

async fn connecting_only_postpones_the_end() {
    let world = World::start().await;
    let id = world.create(json!({"timeout": 600})).await;
    let info = || async {
        world
            .send(Method::GET, &format!("/sandboxes/{id}"), None)
            .await
            .json()
    };
    let before = end_of(&info().await);
    let connected = world
        .send(
            Method::POST,
            &format!("/sandboxes/{id}/connect"),
            Some(json!({"timeout": 10})),
        )
        .await;
    assert_eq!(connected.status, StatusCode::OK);
    assert_eq!(end_of(&info().await), before, "never shortened");
    for (path, body) in [
        ("connect", json!({"timeout": 1000})),
        ("refreshes", json!({"duration": 2000})),
        ("resume", json!({"timeout": 3000})),
    ] {
        let reply = world
            .send(
                Method::POST,
                &format!("/sandboxes/{id}/{path}"),
                Some(body.clone()),
            )
            .await;
        assert!(reply.status.is_success(), "{reply:?}");
        let seconds = body
            .as_object()
            .unwrap()
            .values()
            .next()
            .unwrap()
            .as_u64()
            .unwrap();
        assert_ends_in(&info().await, seconds);
    }
    // The longest that the template allows.
    world
        .send(
            Method::POST,
            &format!("/v2/sandboxes/{id}/connect"),
            Some(json!({"timeout": i64::MAX})),
        )
        .await;
    assert_ends_in(&info().await, 24 * 60 * 60);
    for body in [json!({"timeout": 0}), json!({"memory": false})] {
        world
            .send(
                Method::POST,
                &format!("/sandboxes/{id}/connect"),
                Some(body),
            )
            .await
            .error(400);
    }
    world.clean_up().await;
}

async fn killing_ends_it_once() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    let path = format!("/sandboxes/{id}");
    assert_eq!(
        world.send(Method::DELETE, &path, None).await.status,
        StatusCode::NO_CONTENT
    );
    for reply in [
        world.send(Method::DELETE, &path, None).await,
        world.send(Method::GET, &path, None).await,
    ] {
        assert!(reply.error(404).contains(&id));
    }
    assert_eq!(
        world.send(Method::GET, "/v2/sandboxes", None).await.json(),
        json!([])
    );
}

async fn the_timeout_kills() {
    let world = World::start().await;
    let id = world.create(json!({"timeout": 2})).await;
    world.wait_until_gone(&id).await;
}

async fn it_outlives_its_gateway() {
    let mut world = World::start().await;
    let id = world.create(json!({"metadata": {"a": "b"}})).await;
    let token = world
        .send(Method::POST, &format!("/sandboxes/{id}/connect"), None)
        .await
        .json()["envdAccessToken"]
        .clone();
    world.stop().await.unwrap();
    world.add_replica("").await;
    let connected = world
        .send(Method::POST, &format!("/sandboxes/{id}/connect"), None)
        .await;
    assert_eq!(
        (connected.status, &connected.json()["envdAccessToken"]),
        (StatusCode::OK, &token)
    );
    assert_eq!(
        world
            .send(Method::GET, "/v2/sandboxes?metadata=a%3Db", None)
            .await
            .json()[0]["sandboxID"],
        id
    );
    world.clean_up().await;
}

async fn logs_and_metrics_are_shown() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    for path in [
        format!("/sandboxes/{id}/logs"),
        format!("/v2/sandboxes/{id}/logs?limit=10"),
    ] {
        let logs = world.send(Method::GET, &path, None).await.json();
        for entry in logs["logs"].as_array().unwrap() {
            assert!(
                entry["timestamp"]
                    .as_str()
                    .unwrap()
                    .parse::<Timestamp>()
                    .is_ok()
                    && entry["message"].is_string(),
                "{entry}"
            );
        }
    }
    let past = world
        .send(
            Method::GET,
            &format!("/sandboxes/{id}/metrics?start=1&end=2"),
            None,
        )
        .await
        .json();
    assert_eq!(past, json!([]));
    let now = world
        .send(Method::GET, &format!("/sandboxes/{id}/metrics"), None)
        .await;
    assert_eq!(now.status, StatusCode::OK, "{now:?}");
    let several = world
        .send(
            Method::GET,
            &format!("/sandboxes/metrics?sandbox_ids={id},none"),
            None,
        )
        .await
        .json();
    assert!(
        several["sandboxes"]
            .as_object()
            .unwrap()
            .keys()
            .all(|key| *key == id),
        "{several}"
    );
    world.clean_up().await;
}

async fn what_does_not_exist_is_said_in_words() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    for (method, path) in [
        (Method::POST, format!("/sandboxes/{id}/snapshots")),
        (Method::POST, format!("/sandboxes/{id}/fork")),
        (Method::GET, "/snapshots".to_owned()),
        (Method::POST, "/v3/templates".to_owned()),
        (Method::POST, "/v2/templates/a/builds/b".to_owned()),
        (Method::GET, "/templates/a/builds/b/status".to_owned()),
        (Method::POST, "/volumes".to_owned()),
        (Method::GET, "/volumecontent/a/dir".to_owned()),
        (Method::GET, "/secrets".to_owned()),
        (Method::GET, "/teams".to_owned()),
        (Method::DELETE, "/templates/base".to_owned()),
    ] {
        let reply = world.send(method, &path, None).await;
        assert!(
            reply.error(501).contains("not supported by this server"),
            "{path} {reply:?}"
        );
        assert_eq!(reply.header("should-retry"), Some("false"));
    }
    world
        .send(Method::DELETE, "/templates/a%2Fb%3Ac", None)
        .await
        .error(404);
    world
        .send(Method::POST, "/sandboxes/none/snapshots", None)
        .await
        .error(404);
    world
        .send(Method::GET, "/v2/nothing", None)
        .await
        .error(404);
    world
        .send(Method::PATCH, "/sandboxes", None)
        .await
        .error(405);
    world.clean_up().await;
}
