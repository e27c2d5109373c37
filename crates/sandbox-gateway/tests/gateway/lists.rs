//! Lists of sandboxes.

use http::Method;
use serde_json::{Value, json};

use crate::cases;
use crate::support::World;

cases![lists_have_pages_and_filters];

async fn ids(world: &World, query: &str) -> (Vec<String>, Option<String>) {
    let reply = world
        .send(Method::GET, &format!("/v2/sandboxes?{query}"), None)
        .await;
    let page: Vec<Value> = reply
        .json()
        .as_array()
        .unwrap_or_else(|| panic!("{reply:?}"))
        .clone();
    let ids = page
        .iter()
        .map(|sandbox| sandbox["sandboxID"].as_str().unwrap().to_owned())
        .collect();
    (ids, reply.header("x-next-token").map(str::to_owned))
}

async fn lists_have_pages_and_filters() {
    let world = World::start().await;
    let mut created = Vec::new();
    for (name, key) in [("x", "a b"), ("y", "a b"), ("x", "other")] {
        let metadata = json!({key: "c&d", "name": name});
        created.push(world.create(json!({"metadata": metadata, "templateID": if key == "other" { "code-interpreter-v1" } else { "base" }})).await);
    }
    let other = world
        .send_as(&world.other_key, Method::POST, "/v2/sandboxes", None)
        .await
        .json();

    // Newest first, a page at a time.
    let newest_first: Vec<String> = created.iter().rev().cloned().collect();
    assert_eq!(ids(&world, "").await, (newest_first.clone(), None));
    let (first, token) = ids(&world, "limit=2").await;
    assert_eq!(first, newest_first[..2]);
    let (second, end) = ids(&world, &format!("limit=2&nextToken={}", token.unwrap())).await;
    assert_eq!((second.as_slice(), end), (&newest_first[2..], None));
    assert_eq!(
        ids(&world, "limit=3").await.1,
        None,
        "exactly full is the last"
    );
    assert_eq!(ids(&world, "order=asc").await.0, created);

    // As E2B's SDKs encode it.
    assert_eq!(
        ids(&world, "metadata=a%252520b%3Dc%252526d&order=asc")
            .await
            .0,
        created[..2]
    );
    assert_eq!(
        ids(&world, "metadata=a%252520b%3Dc%252526d%26name%3Dy")
            .await
            .0,
        created[1..2]
    );
    assert_eq!(
        ids(&world, "metadata=name%3Dz").await.0,
        Vec::<String>::new()
    );
    assert_eq!(
        ids(&world, "template=code-interpreter-v1").await.0,
        created[2..]
    );
    assert_eq!(ids(&world, "template=none").await.0, Vec::<String>::new());
    assert_eq!(ids(&world, "state=running%2Cpaused").await.0.len(), 3);
    assert_eq!(ids(&world, "state=running").await.0.len(), 3);
    assert_eq!(ids(&world, "state=paused").await.0, Vec::<String>::new());
    let old = world
        .send(Method::GET, "/sandboxes?metadata=name%3Dx", None)
        .await
        .json();
    assert_eq!(old.as_array().unwrap().len(), 2);
    for query in [
        "limit=0",
        "limit=101",
        "state=ended",
        "order=up",
        "startedAfter=x",
        "nextToken=x",
        "metadata=%25ff",
    ] {
        world
            .send(Method::GET, &format!("/v2/sandboxes?{query}"), None)
            .await
            .error(400);
    }

    // Another key sees its own.
    let seen = world
        .send_as(&world.other_key, Method::GET, "/v2/sandboxes", None)
        .await
        .json();
    assert_eq!(seen.as_array().unwrap().len(), 1);
    assert_eq!(seen[0]["sandboxID"], other["sandboxID"]);
    world.clean_up().await;
}
