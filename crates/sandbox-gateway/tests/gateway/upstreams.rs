//! Secrets of the operator, which sandboxes use and never have. The origin is a server of this machine.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;

use crate::cases;
use crate::egress::put;
use crate::origin::{Origin, SECRET, has_secret, run};
use crate::support::World;

cases![
    secrets_of_the_operator_are_used_and_not_had,
    any_replica_serves_the_upstreams,
    what_waits_in_a_pool_has_the_upstreams,
];

/// A request to the upstream that the variable names. Prints what comes back.
const ASK_UPSTREAM: &str = r#"python3 -c '
import os, urllib.request
try:
    print(urllib.request.urlopen(os.environ["MODELS_URL"] + "/chat", timeout=20).read().decode())
except KeyError:
    print("no upstream")
except OSError as error:
    print("offline" if "refused" in str(error) or "reset" in str(error) else error)
' "#;

/// The settings of a template that has the origin as an upstream. `more` has further fields.
fn template(origin: &Origin, more: &str) -> String {
    let Origin {
        address,
        authority,
        secret,
        ..
    } = origin;
    let upstream = format!(
        "{{url: 'https://{address}/v1', variables: [MODELS_URL], ca: {authority}, secret: 'file:{secret}'}}"
    );
    // The address is not public, so a rule has to be about its network.
    let egress = format!("{{allow: ['127.0.0.0/8:*'], upstreams: {{models: {upstream}}}}}");
    format!("templates: {{base: {{egress: {egress}{more}}}}}")
}

async fn secrets_of_the_operator_are_used_and_not_had() {
    let origin = Origin::start().await;
    let world = World::start_with(&template(&origin, "")).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    assert_eq!(origin.count_requests(), 1);
    let visible = run(
        &world,
        &id,
        "env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null",
    )
    .await;
    assert!(
        visible.contains("MODELS_URL=http://127.0.0.1:") && !visible.contains(SECRET),
        "{visible}"
    );
    assert!(!has_secret(&world.state_dir()));
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await;
    assert!(!format!("{info:?}").contains(SECRET), "{info:?}");

    // Who denies everything denies it as well, and can have it again.
    let replaced = put(&world, &id, json!({"denyOut": ["0.0.0.0/0"]})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    let denied = run(&world, &id, ASK_UPSTREAM).await;
    assert!(denied.contains("403"), "{denied}");
    let replaced = put(&world, &id, json!({})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");

    // One that was created with nothing can have it later.
    let offline = world.create(json!({"allow_internet_access": false})).await;
    assert_eq!(run(&world, &offline, ASK_UPSTREAM).await, "no upstream\n");
    let replaced = put(&world, &offline, json!({})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    assert_eq!(run(&world, &offline, ASK_UPSTREAM).await, "hello\n");

    // A caller names no upstream.
    let own = json!({"network": {"upstreams": {"x": {"url": "https://x.example"}}}});
    let refused = world
        .send(Method::POST, "/v2/sandboxes", Some(own))
        .await
        .error(400);
    assert!(refused.contains("network.upstreams"), "{refused}");
    assert_eq!(origin.count_requests(), 3);
    world.clean_up().await;
}

async fn any_replica_serves_the_upstreams() {
    let origin = Origin::start().await;
    let yaml = template(&origin, "");
    let mut world = World::start_with(&yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    world.stop().await.unwrap();
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "offline\n");
    // Another one serves what it finds, without a request about it.
    world.add_replica(&yaml).await;
    let mut said = String::new();
    for _ in 0..100 {
        said = run(&world, &id, ASK_UPSTREAM).await;
        if said == "hello\n" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said, "hello\n");
    assert_eq!(origin.count_requests(), 2);
    world.clean_up().await;
}

async fn what_waits_in_a_pool_has_the_upstreams() {
    let origin = Origin::start().await;
    let world = World::start_with(&template(&origin, ", pool: {size: 1}")).await;
    let id = world.create(json!({})).await;
    assert_eq!(run(&world, &id, ASK_UPSTREAM).await, "hello\n");
    let denied = world.create(json!({"allow_internet_access": false})).await;
    let said = run(&world, &denied, ASK_UPSTREAM).await;
    assert!(said.contains("403") || said == "no upstream\n", "{said}");
    assert_eq!(origin.count_requests(), 1);
    world.clean_up().await;
}
