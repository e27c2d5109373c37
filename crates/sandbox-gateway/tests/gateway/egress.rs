//! What sandboxes may reach. Nothing here needs a network: the rules allow a server on this machine, by its address.

use std::net::SocketAddr;
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use crate::cases;
use crate::support::World;

cases![
    without_rules_nothing_can_be_reached,
    a_request_narrows_what_the_template_allows,
    rules_are_replaced_for_good,
    one_replica_serves_a_sandbox,
    what_waits_in_a_pool_has_the_rules,
];

/// Rules that allow this machine's loopback interface alone.
const LOOPBACK: &str = "templates: {base: {egress: {allow: [\"127.0.0.0/8:*\"]}}}";

/// A request through the proxy that the variables name. Prints the status and the body, or that there is no way.
const ASK: &str = r#"python3 -c '
import os, socket, sys
if "HTTP_PROXY" not in os.environ:
    sys.exit(print("no proxy"))
port = int(os.environ["HTTP_PROXY"].rsplit(":", 1)[1])
try:
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.sendall(b"GET http://%s/ HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % ((sys.argv[1].encode(),) * 2))
    text = b""
    while part := s.recv(4096):
        text += part
    print(text.decode() or "offline")
except OSError as error:
    print("offline", error)
' "#;

/// A server on this machine that greets.
async fn serve() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = [0; 1024];
                let _read = stream.read(&mut head).await;
                let reply = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
                let _written = stream.write_all(reply).await;
            });
        }
    });
    address
}

/// What a request of a command in the sandbox gets.
async fn ask(world: &World, id: &str, address: SocketAddr) -> String {
    let client = world.client().await;
    let handle = client.connect(&id.parse().unwrap()).await.unwrap();
    let command = format!("{ASK}{address}");
    handle
        .shell(&command)
        .output()
        .await
        .unwrap()
        .stdout_lossy()
}

pub(crate) async fn put(world: &World, id: &str, body: Value) -> crate::support::Reply {
    let path = format!("/sandboxes/{id}/network");
    world.send(Method::PUT, &path, Some(body)).await
}

async fn without_rules_nothing_can_be_reached() {
    let world = World::start().await;
    let server = serve().await;
    // Old SDKs always send this.
    let id = world.create(json!({"allow_internet_access": true})).await;
    assert_eq!(ask(&world, &id, server).await, "no proxy\n");
    let narrower = put(&world, &id, json!({"denyOut": ["1.1.1.1"]})).await;
    assert_eq!(narrower.status, StatusCode::NO_CONTENT, "{narrower:?}");
    let wider = json!({"allowOut": ["127.0.0.1"], "denyOut": ["0.0.0.0/0"]});
    let refused = put(&world, &id, wider).await.error(400);
    assert!(
        refused.contains("more than the template allows (none)"),
        "{refused}"
    );
    assert_eq!(ask(&world, &id, server).await, "no proxy\n");
    world.clean_up().await;
}

async fn a_request_narrows_what_the_template_allows() {
    let world = World::start_with(LOOPBACK).await;
    let server = serve().await;
    let id = world.create(json!({})).await;
    let reached = ask(&world, &id, server).await;
    assert!(
        reached.starts_with("HTTP/1.1 200") && reached.ends_with("hello\n"),
        "{reached}"
    );
    let body = json!({"allow_internet_access": false, "network": {"allowPublicTraffic": false}});
    let offline = world.create(body).await;
    assert_eq!(ask(&world, &offline, server).await, "no proxy\n");
    let info = world
        .send(Method::GET, &format!("/sandboxes/{offline}"), None)
        .await
        .json();
    assert_eq!(info["allowInternetAccess"], false);
    assert_eq!(info["network"], json!({"allowPublicTraffic": false}));
    let network = json!({"denyOut": ["0.0.0.0/0"], "allowOut": ["127.0.0.2"]});
    let other = world.create(json!({"network": network})).await;
    let refused = ask(&world, &other, server).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let info = world
        .send(Method::GET, &format!("/sandboxes/{other}"), None)
        .await
        .json();
    assert_eq!(info["network"], network);
    let excess = json!({"network": {"denyOut": ["0.0.0.0/0"], "allowOut": ["10.0.0.1"]}});
    let refused = world
        .send(Method::POST, "/v2/sandboxes", Some(excess))
        .await
        .error(400);
    assert!(
        refused.contains("\"10.0.0.1:*\" is more than the template allows"),
        "{refused}"
    );
    world.clean_up().await;
}

async fn rules_are_replaced_for_good() {
    let mut world = World::start_with(LOOPBACK).await;
    let server = serve().await;
    let id = world.create(json!({})).await;
    let untouched = world.create(json!({})).await;
    let replaced = put(&world, &id, json!({"denyOut": ["127.0.0.1"]})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    let refused = ask(&world, &id, server).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    for body in [
        json!({"rules": {"a.example": [{}]}}),
        json!({"allowOut": ["127.0.0.1"]}),
    ] {
        put(&world, &id, body).await.error(400);
    }
    put(&world, "i0000000000000000000", json!({}))
        .await
        .error(404);

    // A new gateway serves what it finds, without a request about it, with the rules that were last set.
    world.stop().await.unwrap();
    assert!(ask(&world, &untouched, server).await.starts_with("offline"));
    world.add_replica(LOOPBACK).await;
    let mut reached = String::new();
    for _ in 0..100 {
        reached = ask(&world, &untouched, server).await;
        if reached.ends_with("hello\n") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(reached.ends_with("hello\n"), "{reached}");
    world
        .send(Method::GET, &format!("/sandboxes/{id}/metrics"), None)
        .await;
    let refused = ask(&world, &id, server).await;
    assert!(refused.starts_with("HTTP/1.1 403"), "{refused}");
    let cleared = put(&world, &id, json!({})).await;
    assert_eq!(cleared.status, StatusCode::NO_CONTENT, "{cleared:?}");
    assert!(ask(&world, &id, server).await.ends_with("hello\n"));
    world.clean_up().await;
}

async fn one_replica_serves_a_sandbox() {
    let mut world = World::start_with(LOOPBACK).await;
    let server = serve().await;
    let id = world.create(json!({})).await;
    let first = world.address;
    world.add_replica(LOOPBACK).await;
    let elsewhere = put(&world, &id, json!({"denyOut": ["127.0.0.1"]})).await;
    assert!(
        elsewhere.error(503).contains("another replica"),
        "{elsewhere:?}"
    );
    assert!(ask(&world, &id, server).await.ends_with("hello\n"));
    world.address = first;
    let replaced = put(&world, &id, json!({"denyOut": ["127.0.0.1"]})).await;
    assert_eq!(replaced.status, StatusCode::NO_CONTENT, "{replaced:?}");
    world.clean_up().await;
}

async fn what_waits_in_a_pool_has_the_rules() {
    let yaml = "templates: {base: {pool: {size: 1}, egress: {allow: [\"127.0.0.0/8:*\"]}}}";
    let world = World::start_with(yaml).await;
    let server = serve().await;
    for (body, expected) in [
        (json!({}), "HTTP/1.1 200"),
        (
            json!({"network": {"denyOut": ["127.0.0.1"]}}),
            "HTTP/1.1 403",
        ),
        (json!({"allow_internet_access": false}), "HTTP/1.1 403"),
    ] {
        // One that was created because none waited is offline without a proxy.
        let id = world.create(body.clone()).await;
        let reply = ask(&world, &id, server).await;
        let is_denied = expected.ends_with("403") && reply == "no proxy\n";
        assert!(reply.starts_with(expected) || is_denied, "{body}: {reply}");
    }
    world.clean_up().await;
}
