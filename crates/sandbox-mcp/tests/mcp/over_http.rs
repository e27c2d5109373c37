//! The server over HTTP: who gets in, and what sessions see of each other.

use std::time::Duration;

use http::{Method, StatusCode};
use sandbox_mcp::{BearerToken, McpConfig, McpServer};
use serde_json::{Value, json};

use crate::http_support::{HttpWorld, TOKEN, initialize};
use crate::support::{Answer, client_of};

crate::cases![
    no_client_gets_in_without_the_token,
    pages_of_browsers_are_refused,
    only_loopback_is_listened_on,
    sessions_do_not_see_each_other,
    a_session_that_is_ended_takes_its_sandboxes_along,
    calls_without_a_session_need_an_id,
    a_stop_deletes_everything,
    bodies_of_any_kind_are_survived,
];

/// A call as the protocol of 2026-07-28 has it, without a session.
async fn call_alone(world: &HttpWorld, tool: &str, arguments: Value) -> Answer {
    let message = json!({
        "jsonrpc": "2.0", "id": 9, "method": "tools/call",
        "params": {
            "name": tool,
            "arguments": arguments,
            "_meta": {
                "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "2"},
                "io.modelcontextprotocol/clientCapabilities": {},
            },
        },
    });
    let headers = [
        ("mcp-protocol-version", "2026-07-28"),
        ("mcp-method", "tools/call"),
        ("mcp-name", tool),
    ];
    let reply = world.post(&headers, message).await;
    Answer::from_response(&reply.message())
}

async fn no_client_gets_in_without_the_token() {
    let world = HttpWorld::start().await;
    let session = world.begin().await;
    for authorization in [
        "",
        "Bearer",
        "Bearer 0123456789abcdef0123456789abcdee",
        "Bearer 0123456789abcdef",
        "Basic MDEyMzQ1Njc4OWFiY2RlZg==",
        TOKEN,
    ] {
        let headers = [
            ("authorization", authorization),
            ("mcp-session-id", session.as_str()),
        ];
        for method in [Method::POST, Method::GET, Method::DELETE, Method::OPTIONS] {
            for path in ["/mcp", "/", "/mcp?token=0123456789abcdef0123456789abcdef"] {
                let reply = world
                    .send(method.clone(), &headers, path, initialize().to_string())
                    .await;
                assert_eq!(
                    reply.status,
                    StatusCode::UNAUTHORIZED,
                    "{authorization} {method} {path}"
                );
                assert_eq!(reply.headers["www-authenticate"], "Bearer");
            }
        }
    }
    let elsewhere = world
        .send(Method::POST, &[], "/", initialize().to_string())
        .await;
    assert_eq!(elsewhere.status, StatusCode::NOT_FOUND);
    // Nothing of that has ended the session.
    assert!(
        !world
            .call(&session, "sandbox_list", json!({}))
            .await
            .is_error
    );
    world.finish().await;
}

async fn pages_of_browsers_are_refused() {
    let world = HttpWorld::start().await;
    for headers in [
        [("host", "evil.example"), ("origin", "")],
        [
            ("host", "evil.example:80"),
            ("origin", "http://evil.example"),
        ],
        [("host", "127.0.0.1.evil.example"), ("origin", "")],
        [("host", "localhost"), ("origin", "http://evil.example")],
        [("host", "localhost"), ("origin", "http://localhost:3000")],
        [("host", "localhost"), ("origin", "null")],
    ] {
        let reply = world.post(&headers, initialize()).await;
        assert_eq!(reply.status, StatusCode::FORBIDDEN, "{headers:?} {reply:?}");
    }
    let named = world
        .post(&[("host", "localhost:1234")], initialize())
        .await;
    assert_eq!(named.status, StatusCode::OK);
    world.finish().await;
}

async fn only_loopback_is_listened_on() {
    let dir = tempfile::tempdir().unwrap();
    for address in ["0.0.0.0:0", "[::]:0", "192.0.2.1:0", "[::ffff:192.0.2.1]:0"] {
        let server = McpServer::new(client_of(dir.path()).await, McpConfig::default()).unwrap();
        let token = BearerToken::new(TOKEN).unwrap();
        let refused = server.listen_http(address.parse().unwrap(), token).await;
        assert!(refused.is_err(), "{address}");
    }
}

async fn sessions_do_not_see_each_other() {
    let world = HttpWorld::start().await;
    let (ada, bob) = (world.begin().await, world.begin().await);
    assert_ne!(ada, bob);
    let own = world
        .call(&ada, "command_run", json!({"command": "echo ada > file"}))
        .await;
    let theirs = world
        .call(&bob, "command_run", json!({"command": "cat file"}))
        .await;
    assert_eq!(theirs.data["exit_code"], 1, "{theirs:?}");
    let id = own.data["sandbox"].clone();
    for (tool, arguments) in [
        ("file_read", json!({"path": "file", "sandbox": id})),
        ("sandbox_delete", json!({"sandbox": id})),
        (
            "job_wait",
            json!({"job_id": own.data["job_id"], "sandbox": id}),
        ),
        // A job of that id is in another sandbox.
        ("job_wait", json!({"job_id": own.data["job_id"]})),
    ] {
        assert!(world.call(&bob, tool, arguments).await.is_error, "{tool}");
    }
    let listed = world.call(&bob, "sandbox_list", json!({})).await;
    assert_eq!(listed.data["sandboxes"].as_array().map(Vec::len), Some(1));
    assert_ne!(listed.data["sandboxes"][0]["sandbox"], id);
    assert_eq!(world.count_sandboxes().await, 2);
    world.finish().await;
}

async fn a_session_that_is_ended_takes_its_sandboxes_along() {
    let world = HttpWorld::start().await;
    let (ada, bob) = (world.begin().await, world.begin().await);
    for session in [&ada, &bob] {
        world
            .call(session, "command_run", json!({"command": "true"}))
            .await;
    }
    let ended = world
        .send(
            Method::DELETE,
            &[("mcp-session-id", &ada)],
            "/mcp",
            String::new(),
        )
        .await;
    assert!(ended.status.is_success(), "{ended:?}");
    while world.count_sandboxes().await > 1 {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let gone = world
        .post(
            &[("mcp-session-id", &ada)],
            json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}),
        )
        .await;
    assert_eq!(gone.status, StatusCode::NOT_FOUND);
    assert!(!world.call(&bob, "file_list", json!({})).await.is_error);
    world.finish().await;
}

async fn calls_without_a_session_need_an_id() {
    let world = HttpWorld::start().await;
    let without = call_alone(&world, "command_run", json!({"command": "true"})).await;
    assert!(
        without.is_error && without.text.contains("sandbox_create"),
        "{without:?}"
    );
    assert!(call_alone(&world, "sandbox_list", json!({})).await.is_error);
    let created = call_alone(&world, "sandbox_create", json!({})).await;
    let id = created.data["sandbox"].clone();
    let ran = call_alone(
        &world,
        "command_run",
        json!({"command": "echo hello > file", "sandbox": id}),
    )
    .await;
    assert_eq!(ran.data["exit_code"], 0, "{ran:?}");
    let read = call_alone(&world, "file_read", json!({"path": "file", "sandbox": id})).await;
    assert_eq!(read.data["content"], "hello\n");
    // A session does not see it, even with the id.
    let session = world.begin().await;
    let theirs = world
        .call(
            &session,
            "file_read",
            json!({"path": "file", "sandbox": id}),
        )
        .await;
    assert!(theirs.is_error);
    let own = world.call(&session, "sandbox_create", json!({})).await;
    let not_shared = call_alone(
        &world,
        "sandbox_delete",
        json!({"sandbox": own.data["sandbox"]}),
    )
    .await;
    assert!(not_shared.is_error);
    let deleted = call_alone(&world, "sandbox_delete", json!({"sandbox": id})).await;
    assert_eq!(deleted.data["deleted"], true);
    // One that is left goes with the server.
    call_alone(&world, "sandbox_create", json!({})).await;
    world.finish().await;
}

async fn a_stop_deletes_everything() {
    let world = HttpWorld::start().await;
    for _ in 0..2 {
        let session = world.begin().await;
        world
            .call(&session, "command_run", json!({"command": "true"}))
            .await;
    }
    assert_eq!(world.count_sandboxes().await, 2);
    world.finish().await;
}

async fn bodies_of_any_kind_are_survived() {
    let world = HttpWorld::start().await;
    let session = world.begin().await;
    for body in [
        String::new(),
        "not json".to_owned(),
        "[]".to_owned(),
        "{}".to_owned(),
        "[".repeat(100_000),
        format!("{{\"x\": \"{}\"}}", "x".repeat(20 << 20)),
    ] {
        for headers in [&[][..], &[("mcp-session-id", session.as_str())][..]] {
            let reply = world
                .send(Method::POST, headers, "/mcp", body.clone())
                .await;
            assert!(reply.status.is_client_error(), "{} {reply:?}", body.len());
        }
    }
    for (method, header) in [
        (Method::GET, ("mcp-session-id", "nobody")),
        (Method::PUT, ("mcp-session-id", session.as_str())),
        (Method::POST, ("content-type", "text/plain")),
        (Method::POST, ("accept", "text/html")),
    ] {
        let reply = world
            .send(method, &[header], "/mcp", initialize().to_string())
            .await;
        assert!(!reply.status.is_success(), "{header:?} {reply:?}");
    }
    assert!(
        !world
            .call(&session, "sandbox_list", json!({}))
            .await
            .is_error
    );
    world.finish().await;
}
