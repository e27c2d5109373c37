//! Creating sandboxes.

use http::{Method, StatusCode};
use serde_json::json;

use crate::cases;
use crate::support::World;

cases![
    both_generations_create,
    the_environment_reaches_commands,
    requests_that_cannot_be_kept_are_refused,
    a_key_has_a_greatest_number_of_sandboxes,
    a_repeated_request_has_one_sandbox,
    a_template_has_its_own_settings,
    a_pool_is_used_and_emptied,
];

async fn both_generations_create() {
    let world = World::start().await;
    for path in ["/sandboxes", "/v2/sandboxes"] {
        let reply = world
            .send(
                Method::POST,
                path,
                Some(json!({"templateID": "base", "timeout": 60, "metadata": {}})),
            )
            .await;
        assert_eq!(reply.status, StatusCode::CREATED, "{reply:?}");
        let body = reply.json();
        assert_eq!(body["templateID"], "base");
        assert_eq!(body["envdVersion"], "0.6.13");
        assert!(
            body["clientID"].is_string() && body["envdAccessToken"].as_str().unwrap().len() == 64,
            "{body}"
        );
        assert!(
            body["trafficAccessToken"].is_null() && body["domain"].is_null(),
            "{body}"
        );
        let id = body["sandboxID"].as_str().unwrap();
        assert!(
            id.bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit()),
            "{id}"
        );
        let connected = world
            .send(
                Method::POST,
                &format!("{path}/{id}/connect"),
                Some(json!({"timeout": 60})),
            )
            .await;
        assert_eq!(connected.status, StatusCode::OK);
        assert_eq!(connected.json()["envdAccessToken"], body["envdAccessToken"]);
    }
    // Everything may be left out.
    let least = world.send(Method::POST, "/v2/sandboxes", None).await;
    assert_eq!(least.status, StatusCode::CREATED, "{least:?}");
    world.clean_up().await;
}

async fn the_environment_reaches_commands() {
    let world = World::start_with("templates: {base: {env: {A: template, B: template}}}").await;
    let id = world
        .create(json!({"envVars": {"B": "request", "C": "two\nlines"}}))
        .await;
    let handle = world
        .client()
        .await
        .connect(&id.parse().unwrap())
        .await
        .unwrap();
    let output = handle
        .shell("echo \"$A $B $C\"")
        .output()
        .await
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(output.stdout, "template request two\nlines\n");
    world.clean_up().await;
}

async fn requests_that_cannot_be_kept_are_refused() {
    let world = World::start().await;
    for (body, status, part) in [
        (
            json!({"templateID": "none"}),
            404,
            "template 'none' not found",
        ),
        (json!({"timeout": 0}), 400, "timeout"),
        (json!({"timeout": 10_000_000}), 400, "timeout exceeds"),
        (json!({"timeout": "soon"}), 400, "not as expected"),
        (json!([]), 400, "not as expected"),
        (
            json!({"network": {"denyOut": ["0.0.0.0/0"], "allowOut": ["pypi.org"]}}),
            400,
            "network.allowOut: \"pypi.org\" is more than the template allows (none)",
        ),
        (
            json!({"network": {"denyOut": ["10.0.0.1/8"]}}),
            400,
            "network.denyOut",
        ),
        (
            json!({"network": {"rules": {"pypi.org": [{}]}}}),
            400,
            "network.rules",
        ),
        (
            json!({"volumeMounts": [{"name": "a", "path": "/a"}]}),
            400,
            "volumeMounts",
        ),
        (json!({"iam": {"tokens": {"a": {}}}}), 400, "iam"),
        (json!({"autoPauseMemory": false}), 400, "autoPauseMemory"),
        (json!({"envVars": {"A=B": "x"}}), 400, "A=B"),
        (
            json!({"metadata": {"large": "x".repeat(100_000)}}),
            400,
            "annotations",
        ),
    ] {
        let message = world
            .send(Method::POST, "/v2/sandboxes", Some(body.clone()))
            .await
            .error(status);
        assert!(message.contains(part), "{body}: {message}");
    }
    assert!(
        world
            .client()
            .await
            .list(sandbox::ListFilter::default())
            .await
            .unwrap()
            .is_empty()
    );
}

async fn a_key_has_a_greatest_number_of_sandboxes() {
    let world = World::start_with("limits: {sandboxes-per-key: 2}").await;
    let create = || world.send(Method::POST, "/v2/sandboxes", Some(json!({})));
    let (one, two, three) = tokio::join!(create(), create(), create());
    let refused: Vec<_> = [one, two, three]
        .into_iter()
        .filter(|reply| reply.status != StatusCode::CREATED)
        .collect();
    assert_eq!(refused.len(), 1, "{refused:?}");
    assert!(
        refused[0]
            .error(429)
            .contains("greatest number of sandboxes, 2")
    );
    assert_eq!(refused[0].header("should-retry"), Some("false"));
    let other = world
        .send_as(&world.other_key, Method::POST, "/v2/sandboxes", None)
        .await;
    assert_eq!(other.status, StatusCode::CREATED);
    let listed = world.send(Method::GET, "/v2/sandboxes", None).await.json();
    let id = listed[0]["sandboxID"].as_str().unwrap();
    assert_eq!(
        world
            .send(Method::DELETE, &format!("/sandboxes/{id}"), None)
            .await
            .status,
        StatusCode::NO_CONTENT
    );
    assert_eq!(create().await.status, StatusCode::CREATED);
    world.clean_up().await;
}

async fn a_repeated_request_has_one_sandbox() {
    let mut world = World::start().await;
    let first_address = world.address;
    world.add_replica("").await;
    let second_address = world.address;
    let request = |key: String, idempotency_key: &'static str, metadata: &'static str| {
        let world = &world;
        async move {
            let headers = [
                ("x-api-key", key.as_str()),
                ("idempotency-key", idempotency_key),
            ];
            world
                .send_with(
                    &headers,
                    Method::POST,
                    "/v2/sandboxes",
                    Some(json!({"metadata": {"m": metadata}})),
                )
                .await
        }
    };
    let ada = || world.key.clone();
    // At once, and again later.
    let (one, two) = tokio::join!(request(ada(), "k-1", "a"), request(ada(), "k-1", "a"));
    let again = request(ada(), "k-1", "a").await;
    let id = one.json()["sandboxID"].clone();
    for reply in [&one, &two, &again] {
        assert_eq!(
            (reply.status, &reply.json()["sandboxID"]),
            (StatusCode::CREATED, &id),
            "{reply:?}"
        );
    }
    assert!(
        request(ada(), "k-1", "b")
            .await
            .error(409)
            .contains("another request")
    );
    let others = [
        request(ada(), "k-2", "a").await,
        request(world.other_key.clone(), "k-1", "a").await,
    ];
    for other in others {
        assert!(
            other.status == StatusCode::CREATED && other.json()["sandboxID"] != id,
            "{other:?}"
        );
    }
    request(ada(), "Not Valid", "a").await.error(400);
    assert_eq!(
        world
            .client()
            .await
            .list(sandbox::ListFilter::default())
            .await
            .unwrap()
            .len(),
        3
    );
    // The other replica knows it, too.
    assert_ne!(first_address, second_address);
    world.address = first_address;
    let headers = [
        ("x-api-key", world.key.as_str()),
        ("idempotency-key", "k-1"),
    ];
    let reply = world
        .send_with(
            &headers,
            Method::POST,
            "/v2/sandboxes",
            Some(json!({"metadata": {"m": "a"}})),
        )
        .await;
    assert_eq!(reply.json()["sandboxID"], id, "{reply:?}");
    world.clean_up().await;
}

async fn a_template_has_its_own_settings() {
    let yaml = "templates: {py: {aliases: [python], timeout: 10s, max-lifetime: 1m}}";
    let world = World::start_with(yaml).await;
    let id = world.create(json!({"templateID": "python"})).await;
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await
        .json();
    assert_eq!(info["templateID"], "py");
    let listed = world
        .send(Method::GET, "/v2/sandboxes?template=python", None)
        .await
        .json();
    assert_eq!(listed.as_array().unwrap().len(), 1);
    let too_long = world
        .send(
            Method::POST,
            "/v2/sandboxes",
            Some(json!({"templateID": "py", "timeout": 61})),
        )
        .await;
    assert!(too_long.error(400).contains("60 seconds"));
    for (alias, status) in [("base", 200), ("python", 200), ("none", 404)] {
        let reply = world
            .send(Method::GET, &format!("/templates/aliases/{alias}"), None)
            .await;
        assert_eq!(reply.status.as_u16(), status, "{alias}");
    }
    let templates = world.send(Method::GET, "/templates", None).await.json();
    assert_eq!(templates.as_array().unwrap().len(), 3, "{templates}");
    world.clean_up().await;
}

async fn a_pool_is_used_and_emptied() {
    let mut world = World::start_with("templates: {base: {pool: {size: 1}}}").await;
    let client = world.client().await;
    let waiting = loop {
        if let Some(info) = client
            .list(sandbox::ListFilter::default())
            .await
            .unwrap()
            .pop()
        {
            break info.id.to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    assert_eq!(
        world.send(Method::GET, "/v2/sandboxes", None).await.json(),
        json!([]),
        "what waits is nobody's"
    );
    // It may not be connected to yet: then one is created.
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(
            world
                .create(json!({"metadata": {"a": "b"}, "envVars": {"X": "y"}, "timeout": 60}))
                .await,
        );
        tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    }
    assert!(ids.contains(&waiting), "{ids:?} {waiting}");
    let info = world
        .send(Method::GET, &format!("/sandboxes/{waiting}"), None)
        .await
        .json();
    assert_eq!(info["metadata"], json!({"a": "b"}));
    let handle = client.connect(&waiting.parse().unwrap()).await.unwrap();
    assert_eq!(
        handle.shell("echo $X").output().await.unwrap().stdout,
        "y\n"
    );
    world.stop().await.unwrap();
    let left = client.list(sandbox::ListFilter::default()).await.unwrap();
    let left: Vec<String> = left.iter().map(|info| info.id.to_string()).collect();
    assert_eq!(
        left.len(),
        ids.len(),
        "what waited is deleted: {left:?} {ids:?}"
    );
    drop(handle);
    world.clean_up().await;
}
