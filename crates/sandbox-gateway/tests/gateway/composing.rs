//! `/files/compose`: files of a sandbox that are joined, and requests that are meant to do harm.

use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::cases;
use crate::support::{Reply, World};

cases![
    files_are_joined_in_their_order,
    what_cannot_be_joined_is_refused_in_words,
    only_the_token_of_the_sandbox_opens_it,
];

/// A sandbox, and the token of its data plane.
struct Target {
    id: String,
    token: String,
}

impl Target {
    async fn create(world: &World) -> Self {
        let reply = world
            .send(Method::POST, "/v2/sandboxes", Some(json!({})))
            .await;
        let text = |name: &str| reply.json()[name].as_str().unwrap().to_owned();
        Self {
            id: text("sandboxID"),
            token: text("envdAccessToken"),
        }
    }

    async fn send(&self, world: &World, method: Method, path: &str, body: Value) -> Reply {
        let headers = [
            ("e2b-sandbox-id", &*self.id),
            ("e2b-sandbox-port", "49983"),
            ("x-access-token", &*self.token),
            ("content-type", "application/octet-stream"),
        ];
        world.send_with(&headers, method, path, Some(body)).await
    }

    async fn compose(&self, world: &World, body: Value) -> Reply {
        self.send(world, Method::POST, "/files/compose", body).await
    }

    /// Writes a JSON value to a file.
    async fn write(&self, world: &World, path: &str, content: Value) {
        let path = format!("/files?path={path}");
        let reply = self.send(world, Method::POST, &path, content).await;
        assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    }

    async fn read(&self, world: &World, path: &str) -> Reply {
        let path = format!("/files?path={path}");
        self.send(world, Method::GET, &path, Value::Null).await
    }
}

async fn files_are_joined_in_their_order() {
    let world = World::start().await;
    let target = Target::create(&world).await;
    for (path, content) in [("b", 1), ("d/a", 2), ("c", 3)] {
        target.write(&world, path, json!(content)).await;
    }
    let request = json!({"source_paths": ["c", "d/a", "b"], "destination": "new/all", "later": 1});
    let reply = target.compose(&world, request).await;
    assert_eq!(reply.status, StatusCode::OK, "{reply:?}");
    let entry = reply.json();
    assert_eq!(
        (&entry["name"], &entry["type"]),
        (&json!("all"), &json!("file"))
    );
    assert!(entry["path"].as_str().unwrap().ends_with("/new/all"));
    assert_eq!(target.read(&world, "new/all").await.body, "321");
    for gone in ["b", "d/a", "c"] {
        target.read(&world, gone).await.error(404);
    }
    world.clean_up().await;
}

async fn what_cannot_be_joined_is_refused_in_words() {
    let world = World::start().await;
    let target = Target::create(&world).await;
    target.write(&world, "a", json!(1)).await;
    let many = vec!["a"; 10_001];
    for (request, status) in [
        (json!({}), 400),
        (json!([["a"], "x"]), 400),
        (json!({"source_paths": "a", "destination": "x"}), 400),
        (json!({"source_paths": [], "destination": "x"}), 400),
        (json!({"source_paths": ["a"]}), 400),
        (json!({"source_paths": [""], "destination": "x"}), 400),
        (json!({"source_paths": many, "destination": "x"}), 400),
        (json!({"source_paths": ["a"], "destination": "a"}), 400),
        (json!({"source_paths": ["a"], "destination": ".."}), 400),
        (json!({"source_paths": ["a\0"], "destination": "x"}), 400),
        (
            json!({"source_paths": ["a", "none"], "destination": "x"}),
            404,
        ),
        (json!({"source_paths": ["a", "/"], "destination": "x"}), 400),
        (
            json!({"source_paths": ["a", "/dev/zero"], "destination": "x"}),
            400,
        ),
        (
            json!({"source_paths": ["a"], "destination": "x", "username": "no such user"}),
            401,
        ),
        // More than a message may have.
        (
            json!({"source_paths": ["a".repeat(5 << 20)], "destination": "x"}),
            429,
        ),
        // More than the sandbox's server accepts.
        (
            json!({"source_paths": ["a".repeat(2 << 20)], "destination": "x"}),
            400,
        ),
    ] {
        let reply = target.compose(&world, request).await;
        reply.error(status);
        target.read(&world, "x").await.error(404);
    }
    let get = target
        .send(&world, Method::GET, "/files/compose", json!({}))
        .await;
    get.error(405);
    assert_eq!(get.header("allow"), Some("POST"));
    assert_eq!(target.read(&world, "a").await.body, "1");
    world.clean_up().await;
}

async fn only_the_token_of_the_sandbox_opens_it() {
    let world = World::start().await;
    let target = Target::create(&world).await;
    let other = Target::create(&world).await;
    target.write(&world, "a", json!(1)).await;
    let request = json!({"source_paths": ["a"], "destination": "x"});
    let swapped = Target {
        id: target.id.clone(),
        token: other.token,
    };
    swapped.compose(&world, request.clone()).await.error(401);
    // The address is not signed, whatever the query says.
    let headers = [
        ("e2b-sandbox-id", &*target.id),
        ("e2b-sandbox-port", "49983"),
        ("x-api-key", &*world.key),
    ];
    let signed = "/files/compose?signature=v1_x&path=a";
    let reply = world.send_with(&headers, Method::POST, signed, Some(request));
    reply.await.error(401);
    assert_eq!(target.read(&world, "a").await.body, "1");
    world.clean_up().await;
}
