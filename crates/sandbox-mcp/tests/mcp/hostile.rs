//! Clients that do not keep to the protocol, and models that try what they must not.

use serde_json::{Value, json};

use crate::support::World;

crate::cases![
    what_is_no_message_is_survived,
    a_message_of_any_length_is_survived,
    many_calls_at_once_are_limited,
    another_session_s_sandbox_is_none_of_one_s_own,
    a_call_before_the_session_does_no_harm,
];

async fn what_is_no_message_is_survived() {
    let mut world = World::start().await;
    for line in [
        "",
        "not json",
        "{",
        "[]",
        "null",
        "7",
        "{}",
        r#"{"jsonrpc": "2.0"}"#,
        r#"{"jsonrpc": "1.0", "id": 1, "method": "ping"}"#,
        r#"{"jsonrpc": "2.0", "id": {}, "method": "ping"}"#,
        r#"{"jsonrpc": "2.0", "id": 900, "method": "tools/call"}"#,
        r#"{"jsonrpc": "2.0", "id": 901, "method": "tools/call", "params": []}"#,
        r#"{"jsonrpc": "2.0", "id": 902, "method": "tools/call", "params": {"name": 7}}"#,
        r#"{"jsonrpc": "2.0", "id": 903, "method": "tools/call", "params": {"name": "file_read", "arguments": 7}}"#,
        r#"{"jsonrpc": "2.0", "id": 904, "method": "no/such/method"}"#,
        r#"{"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 12345}}"#,
        r#"{"jsonrpc": "2.0", "id": 905, "result": {}}"#,
        "\u{feff}\u{0}\u{1b}[2J",
    ] {
        world.send_line(line).await;
    }
    let deep = format!(
        r#"{{"jsonrpc": "2.0", "id": 906, "method": "tools/call", "params": {}1{}}}"#,
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    world.send_line(&deep).await;
    assert_eq!(world.run("echo still here").await, "still here\n");
    world.finish().await;
}

async fn a_message_of_any_length_is_survived() {
    let mut world = World::start().await;
    // As large as a message may be, and then larger.
    let largest = "x".repeat(4 << 20);
    world
        .use_tool("file_write", json!({"path": "large", "content": largest}))
        .await;
    let id = world
        .begin_call(
            "file_write",
            json!({"path": "larger", "content": "x".repeat(20 << 20)}),
        )
        .await;
    assert_eq!(world.run("wc -c < large; ls").await, "4194304\nlarge\n");
    assert!(id > 0);
    let command = format!("echo {}", "y".repeat(3 << 20));
    let long = world.call("command_run", json!({"command": command})).await;
    assert!(
        long.is_error || long.data["exit_code"].is_u64(),
        "{}",
        long.text
    );
    let many: Value = (0..100_000)
        .map(|n| (format!("V{n}"), json!("x")))
        .collect::<serde_json::Map<_, _>>()
        .into();
    let message = world
        .call("command_run", json!({"command": "true", "env": many}))
        .await;
    assert!(message.text.len() < 10_000);
    world.run("true").await;
    world.finish().await;
}

async fn many_calls_at_once_are_limited() {
    let mut world = World::start().await;
    world.run("true").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(
            world
                .begin_call(
                    "command_run",
                    json!({"command": "until [ -e go ]; do sleep 0.2; done"}),
                )
                .await,
        );
    }
    // The first calls to be answered are those that are refused.
    let mut refused = 0;
    while refused < 8 {
        let message = world.next_message().await;
        assert_eq!(message["result"]["isError"], true, "{message}");
        let text = message["result"]["content"][0]["text"].as_str().unwrap();
        assert!(text.contains("too many calls"), "{text}");
        refused += 1;
    }
    world.hang_up().await;
    world.wait_for_end().await;
}

async fn another_session_s_sandbox_is_none_of_one_s_own() {
    let mut world = World::start().await;
    world.run("true").await;
    let client = crate::support::client_of(world.dir.path()).await;
    // Somebody else's, on the same backend, with the same labels.
    let other = client
        .sandbox()
        .label("created-by", "mcp")
        .create()
        .await
        .unwrap();
    let id = other.id().to_string();
    for (tool, arguments) in [
        ("command_run", json!({"command": "true", "sandbox": id})),
        ("job_wait", json!({"job_id": "job-000000", "sandbox": id})),
        (
            "job_signal",
            json!({"job_id": "job-000000", "signal": "KILL", "sandbox": id}),
        ),
        ("file_read", json!({"path": "x", "sandbox": id})),
        (
            "file_write",
            json!({"path": "x", "content": "x", "sandbox": id}),
        ),
        (
            "file_edit",
            json!({"path": "x", "old": "x", "new": "y", "sandbox": id}),
        ),
        ("file_list", json!({"sandbox": id})),
        ("sandbox_delete", json!({"sandbox": id})),
        ("sandbox_delete", json!({"sandbox": "../../etc"})),
        ("sandbox_delete", json!({"sandbox": ""})),
    ] {
        let message = world.fail(tool, arguments).await;
        assert!(message.contains("there is no sandbox"), "{tool}: {message}");
    }
    let listed = world.use_tool("sandbox_list", json!({})).await;
    assert_eq!(listed["sandboxes"].as_array().map(Vec::len), Some(1));
    world.hang_up().await;
    // The end of the session leaves it alone.
    let mut sandboxes = world.sandboxes().await;
    while sandboxes.len() > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        sandboxes = world.sandboxes().await;
    }
    assert_eq!(sandboxes[0].id, *other.id());
    other.delete().await.unwrap();
    world.wait_for_end().await;
}

async fn a_call_before_the_session_does_no_harm() {
    let mut world = World::start_silent(|_, _| {}).await;
    world
        .begin_call("command_run", json!({"command": "true"}))
        .await;
    world.hang_up().await;
    world.wait_for_end().await;
}
