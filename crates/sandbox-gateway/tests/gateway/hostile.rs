//! Callers without a key, with another's, and with requests that are meant to do harm.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cases;
use crate::support::World;

cases![
    unknown_callers_learn_nothing,
    a_sandbox_exists_only_for_its_key,
    ids_and_paths_cannot_be_smuggled,
    large_requests_are_refused,
    a_large_body_in_vain_does_not_hide_the_answer,
    slow_requests_are_cut_off,
    a_flood_of_requests_is_refused,
    what_is_no_sandbox_of_a_gateway_is_hidden,
];

async fn unknown_callers_learn_nothing() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    let wrong = format!("e2b_{}", "0".repeat(40));
    let long = "x".repeat(10_000);
    let headers: [&[(&str, &str)]; 5] = [
        &[],
        &[("x-api-key", "")],
        &[("x-api-key", &wrong)],
        &[("x-api-key", &long)],
        &[("x-api-key", &world.key), ("x-api-key", &world.key)],
    ];
    for headers in headers {
        let mut bodies = std::collections::BTreeSet::new();
        for (method, path) in [
            (Method::GET, format!("/sandboxes/{id}")),
            (Method::GET, "/sandboxes/none".to_owned()),
            (Method::DELETE, format!("/sandboxes/{id}")),
            (Method::PATCH, "/v2/sandboxes".to_owned()),
            (Method::GET, "/v2/there-is-no-such-thing".to_owned()),
            (Method::POST, "/v2/sandboxes".to_owned()),
            (Method::GET, "/templates/aliases/base".to_owned()),
            (Method::GET, "/templates/%ff".to_owned()),
        ] {
            let reply = world.send_with(headers, method, &path, None).await;
            reply.error(401);
            bodies.insert(reply.body);
        }
        assert_eq!(bodies.len(), 1, "each gets the same response: {bodies:?}");
    }
    assert!(world.exists(&id).await);
    let liveness = world.send_with(&[], Method::GET, "/health", None).await;
    assert_eq!(liveness.status, StatusCode::OK);
    world.clean_up().await;
}

async fn a_sandbox_exists_only_for_its_key() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    let other = world.other_key.as_str();
    for (method, path, body) in [
        (Method::GET, format!("/sandboxes/{id}"), None),
        (Method::DELETE, format!("/sandboxes/{id}"), None),
        (
            Method::POST,
            format!("/sandboxes/{id}/connect"),
            Some(json!({"timeout": 1})),
        ),
        (
            Method::POST,
            format!("/v2/sandboxes/{id}/connect"),
            Some(json!({"timeout": 1})),
        ),
        (
            Method::POST,
            format!("/sandboxes/{id}/resume"),
            Some(json!({"timeout": 1})),
        ),
        (
            Method::POST,
            format!("/sandboxes/{id}/timeout"),
            Some(json!({"timeout": 0})),
        ),
        (
            Method::POST,
            format!("/sandboxes/{id}/refreshes"),
            Some(json!({"duration": 1})),
        ),
        (Method::POST, format!("/sandboxes/{id}/pause"), None),
        (Method::GET, format!("/sandboxes/{id}/logs"), None),
        (Method::GET, format!("/v2/sandboxes/{id}/logs"), None),
        (Method::GET, format!("/sandboxes/{id}/metrics"), None),
        (Method::POST, format!("/sandboxes/{id}/snapshots"), None),
        (Method::POST, format!("/sandboxes/{id}/fork"), None),
        (Method::PUT, format!("/sandboxes/{id}/network"), None),
    ] {
        let missing = path.replace(&id, "i0000000000000000000");
        let message = world
            .send_as(other, method.clone(), &path, body.clone())
            .await
            .error(404);
        let expected = world
            .send_as(other, method, &missing, body)
            .await
            .error(404);
        assert_eq!(
            message.replace(&id, "i0000000000000000000"),
            expected,
            "as one that does not exist"
        );
    }
    let metrics = world
        .send_as(
            other,
            Method::GET,
            &format!("/sandboxes/metrics?sandbox_ids={id}"),
            None,
        )
        .await
        .json();
    assert_eq!(metrics, json!({"sandboxes": {}}));
    assert!(world.exists(&id).await);
    world.clean_up().await;
}

async fn ids_and_paths_cannot_be_smuggled() {
    let world = World::start().await;
    let id = world.create(json!({})).await;
    let other = world.other_key.as_str();
    for path in [
        format!("/sandboxes/x%2F..%2F{id}"),
        format!("/sandboxes/{id}%00"),
        format!("/sandboxes/%2e%2e%2f{id}"),
        format!("/sandboxes/{id}/../{id}"),
        format!("/sandboxes/{id}%2Fconnect"),
        format!("/sandboxes/{}", id.to_uppercase()),
        format!("/sandboxes/{id}%20"),
        format!("/sandboxes//{id}"),
        "/sandboxes/%ff".to_owned(),
        format!("/sandboxes/{}", "a".repeat(5000)),
    ] {
        for key in [other, world.key.as_str()] {
            let reply = world.send_as(key, Method::DELETE, &path, None).await;
            assert!(reply.status.is_client_error(), "{path} {reply:?}");
            reply.error(reply.status.as_u16());
        }
    }
    // Headers of a sandbox do not change whose key counts.
    let headers = [
        ("x-api-key", other),
        ("e2b-sandbox-id", id.as_str()),
        ("e2b-sandbox-port", "49983"),
    ];
    world
        .send_with(&headers, Method::DELETE, &format!("/sandboxes/{id}"), None)
        .await
        .error(404);
    // Two ids, or an id and a host, are refused.
    let twice = [("e2b-sandbox-id", id.as_str()), ("e2b-sandbox-id", "other")];
    world
        .send_with(&twice, Method::GET, "/files?path=/etc/passwd", None)
        .await
        .error(400);
    let hosts = [("host", "a.example.com"), ("x-api-key", world.key.as_str())];
    world
        .send_with(&hosts, Method::GET, &format!("/sandboxes/{id}"), None)
        .await
        .error(400);
    assert!(world.exists(&id).await);
    world.clean_up().await;
}

async fn large_requests_are_refused() {
    let world = World::start_with("limits: {body-bytes: 100000, header-bytes: 16384}").await;
    let metadata = json!({"metadata": {"a": "x".repeat(200_000)}});
    let too_long = world
        .send(Method::POST, "/v2/sandboxes", Some(metadata))
        .await;
    assert!(too_long.error(413).contains("100000 bytes"));
    let header = "x".repeat(20_000);
    let reply = world
        .send_with(
            &[("x-api-key", &world.key), ("x-more", &header)],
            Method::GET,
            "/v2/sandboxes",
            None,
        )
        .await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
    let many: Vec<(String, String)> = (0..150)
        .map(|n| (format!("x-{n}"), "y".to_owned()))
        .collect();
    let many: Vec<(&str, &str)> = many
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    let reply = world
        .send_with(&many, Method::GET, "/v2/sandboxes", None)
        .await;
    assert_eq!(reply.status, StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE);
}

/// A client that sends everything before it reads would get a reset if the connection was closed meanwhile.
async fn a_large_body_in_vain_does_not_hide_the_answer() {
    let world = World::start().await;
    let body = vec![b'x'; 16 << 20];
    let key = format!("x-api-key: {}", world.key);
    for (path, header, status) in [
        ("/v2/sandboxes", "x-api-key: wrong", 401),
        ("/v2/sandboxes", key.as_str(), 413),
        ("/files?path=a", "e2b-sandbox-id: none", 502),
        ("/", "e2b-sandbox-id: none\r\ne2b-sandbox-port: 80", 502),
    ] {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        // The connection is used again.
        for _ in 0..2 {
            let size = body.len();
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: x\r\n{header}\r\ncontent-length: {size}\r\n\r\n"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            stream.write_all(&body).await.unwrap();
            let mut reply = [0; 4096];
            let count = stream.read(&mut reply).await.unwrap();
            let reply = String::from_utf8_lossy(&reply[..count]);
            let expected = format!("HTTP/1.1 {status}");
            assert!(reply.starts_with(&expected), "{path}: {reply}");
        }
    }
}

/// Sends text and returns what came back, until the end.
async fn exchange(world: &World, text: &str) -> String {
    let mut stream = TcpStream::connect(world.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    // A reset is an end, too.
    let _end = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut reply))
        .await
        .unwrap_or_else(|_| panic!("no end after {text:?}"));
    String::from_utf8_lossy(&reply).into_owned()
}

async fn slow_requests_are_cut_off() {
    let world = World::start_with("limits: {header-timeout: 500ms, body-timeout: 500ms}").await;
    let started_at = Instant::now();
    // Nothing at all, half a head, half a body.
    let key = &world.key;
    let body = format!(
        "POST /v2/sandboxes HTTP/1.1\r\nhost: x\r\nx-api-key: {key}\r\nconnection: close\r\ncontent-length: 10\r\n\r\n{{"
    );
    let (nothing, head, body) = tokio::join!(
        exchange(&world, ""),
        exchange(&world, "GET /health HTTP/1.1\r\nhost: "),
        exchange(&world, &body),
    );
    assert!(nothing.is_empty(), "{nothing}");
    assert!(!head.contains("200"), "{head}");
    assert!(
        body.contains("400") && body.contains("did not arrive in time"),
        "{body}"
    );
    assert!(started_at.elapsed() < Duration::from_secs(10));
}

async fn a_flood_of_requests_is_refused() {
    let world = World::start_with("limits: {requests-per-second: 5}").await;
    let mut refused = None;
    for _ in 0..50 {
        let reply = world.send(Method::GET, "/v2/sandboxes", None).await;
        if reply.status == StatusCode::TOO_MANY_REQUESTS {
            refused = Some(reply);
            break;
        }
    }
    let refused = refused.expect("one over the rate");
    assert!(refused.error(429).contains("more than 5 requests a second"));
    assert_eq!(
        (
            refused.header("retry-after"),
            refused.header("should-retry")
        ),
        (Some("1"), Some("true"))
    );
    // Other keys are not affected.
    let other = world
        .send_as(&world.other_key, Method::GET, "/v2/sandboxes", None)
        .await;
    assert_eq!(other.status, StatusCode::OK);
}

async fn what_is_no_sandbox_of_a_gateway_is_hidden() {
    let world = World::start().await;
    let client = world.client().await;
    // One by another program, and one that only claims to be a gateway's.
    let plain = client
        .sandbox()
        .id("plain")
        .detached()
        .create()
        .await
        .unwrap();
    let forged = client
        .sandbox()
        .id("forged")
        .label("gateway", "e2b")
        .detached()
        .create()
        .await
        .unwrap();
    for id in ["plain", "forged"] {
        world
            .send(Method::DELETE, &format!("/sandboxes/{id}"), None)
            .await
            .error(404);
        world
            .send(Method::GET, &format!("/sandboxes/{id}/logs"), None)
            .await
            .error(404);
    }
    assert_eq!(
        world.send(Method::GET, "/v2/sandboxes", None).await.json(),
        json!([])
    );
    plain.command("true").output().await.unwrap();
    forged.command("true").output().await.unwrap();
    world.clean_up().await;
}
