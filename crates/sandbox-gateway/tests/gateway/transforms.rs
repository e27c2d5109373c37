//! Secrets of the operator for hosts that sandboxes ask by their own names. The host is a server of this machine.

use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cases;
use crate::egress::put;
use crate::origin::{Origin, SECRET, has_secret, run};
use crate::support::World;

cases![
    secrets_are_used_with_their_host_and_not_had,
    any_replica_serves_the_transforms,
    what_waits_in_a_pool_has_the_transforms,
];

/// The settings of a template that has a transform of the origin. `more` has further fields.
fn template(origin: &Origin, more: &str) -> String {
    let Origin {
        address,
        authority,
        secret,
        ..
    } = origin;
    let transform = format!("{{variables: [API_KEY], ca: {authority}, secret: 'file:{secret}'}}");
    let transforms = format!("{{'localhost:{}': {transform}}}", address.port());
    // The address is not public, so a rule has to be about its network.
    let egress = format!("{{allow: ['127.0.0.0/8:*'], transforms: {transforms}}}");
    format!("templates: {{base: {{egress: {egress}{more}}}}}")
}

/// Asks the host as a program that has its address built in, and prints what comes back. Programs ask hosts of their own
/// machine through no proxy.
async fn ask(world: &World, id: &str, origin: &Origin) -> String {
    let program = format!(
        r#"python3 -c '
import os, urllib.request
os.environ.pop("NO_PROXY", None)
os.environ.pop("no_proxy", None)
try:
    headers = {{"Authorization": "Bearer " + os.environ["API_KEY"]}}
    request = urllib.request.Request("https://localhost:{}/v1/chat", headers=headers)
    print(urllib.request.urlopen(request, timeout=20).read().decode())
except KeyError:
    print("no key")
except OSError as error:
    print("offline" if "refused" in str(error) or "reset" in str(error) else error)
' "#,
        origin.address.port()
    );
    run(world, id, &program).await
}

async fn replace(world: &World, id: &str, network: Value) {
    let replaced = put(world, id, network).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
}

async fn secrets_are_used_with_their_host_and_not_had() {
    let origin = Origin::start().await;
    let world = World::start_with(&template(&origin, "")).await;
    let id = world.create(json!({})).await;
    assert_eq!(ask(&world, &id, &origin).await, "hello\n");
    assert_eq!(origin.count_requests(), 1);
    let visible = run(
        &world,
        &id,
        "env; cat /proc/[0-9]*/environ .sandbox/* 2>/dev/null",
    )
    .await;
    assert!(
        visible.contains("API_KEY=sbx-placeholder-") && !visible.contains(SECRET),
        "{visible}"
    );
    assert!(!has_secret(&world.state_dir()));
    let info = world
        .send(Method::GET, &format!("/sandboxes/{id}"), None)
        .await;
    assert!(!format!("{info:?}").contains(SECRET), "{info:?}");

    // Who denies everything, or the host, denies it; who lists it has it again.
    let host = format!("localhost:{}", origin.address.port());
    let all = ["0.0.0.0/0"];
    for (network, is_denied) in [
        (json!({"denyOut": all}), true),
        (json!({}), false),
        (json!({"denyOut": ["localhost"]}), true),
        (
            json!({"denyOut": all, "allowOut": [host, "127.0.0.0/8"]}),
            false,
        ),
    ] {
        replace(&world, &id, network).await;
        let said = ask(&world, &id, &origin).await;
        assert!(
            if is_denied {
                said.contains("403")
            } else {
                said == "hello\n"
            },
            "{said}"
        );
    }

    // One that was created with nothing can have it later.
    let offline = world.create(json!({"allow_internet_access": false})).await;
    assert_eq!(ask(&world, &offline, &origin).await, "no key\n");
    replace(&world, &offline, json!({})).await;
    assert_eq!(ask(&world, &offline, &origin).await, "hello\n");

    // A caller names no transform.
    let own = json!({"network": {"transforms": {"x.example": {"secret": "none"}}}});
    let refused = world
        .send(Method::POST, "/v2/sandboxes", Some(own))
        .await
        .error(400);
    assert!(refused.contains("network.transforms"), "{refused}");
    assert_eq!(origin.count_requests(), 4);
    world.clean_up().await;
}

async fn any_replica_serves_the_transforms() {
    let origin = Origin::start().await;
    let yaml = template(&origin, "");
    let mut world = World::start_with(&yaml).await;
    let id = world.create(json!({})).await;
    assert_eq!(ask(&world, &id, &origin).await, "hello\n");
    world.stop().await.unwrap();
    assert_eq!(ask(&world, &id, &origin).await, "offline\n");
    // Another one serves what it finds, without a request about it. Its placeholders are others: what is asked while it begins
    // may have the former one.
    world.add_replica(&yaml).await;
    let mut said = String::new();
    for _ in 0..100 {
        said = ask(&world, &id, &origin).await;
        if origin.count_requests_with_secret() == 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(said, "hello\n");
    world.clean_up().await;
}

async fn what_waits_in_a_pool_has_the_transforms() {
    let origin = Origin::start().await;
    let world = World::start_with(&template(&origin, ", pool: {size: 1}")).await;
    let id = world.create(json!({})).await;
    assert_eq!(ask(&world, &id, &origin).await, "hello\n");
    let denied = world.create(json!({"allow_internet_access": false})).await;
    let said = ask(&world, &denied, &origin).await;
    assert!(said.contains("403") || said == "no key\n", "{said}");
    assert_eq!(origin.count_requests(), 1);
    world.clean_up().await;
}
