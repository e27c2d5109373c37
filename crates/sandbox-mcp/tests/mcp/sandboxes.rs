//! Sandboxes of a session: created, listed, deleted, and gone with it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::World;

crate::cases![
    the_first_use_creates_the_session_s_own,
    further_sandboxes_are_apart,
    the_operator_limits_their_number,
    a_model_chooses_only_permitted_images,
    a_signal_deletes_everything,
    a_client_that_vanishes_leaves_nothing,
    an_ended_sandbox_is_replaced_and_that_is_said,
    use_postpones_the_end,
    tools_are_described,
    every_call_is_recorded,
];

async fn the_first_use_creates_the_session_s_own() {
    let mut world = World::start().await;
    let none = world.call("sandbox_list", json!({})).await;
    assert_eq!(none.data["sandboxes"], json!([]));
    assert!(world.sandboxes().await.is_empty());
    // Two calls at once create one.
    let ids = [
        world
            .begin_call("command_run", json!({"command": "echo a >> log"}))
            .await,
        world
            .begin_call("command_run", json!({"command": "echo b >> log"}))
            .await,
    ];
    for id in ids {
        world.response(id).await;
    }
    assert_eq!(world.run("wc -l < log").await.trim(), "2");
    let listed = world.use_tool("sandbox_list", json!({})).await;
    let entry = &listed["sandboxes"][0];
    assert_eq!(
        (&entry["state"], &entry["is_default"]),
        (&json!("ready"), &json!(true))
    );
    let infos = world.sandboxes().await;
    assert_eq!(infos.len(), 1);
    assert_eq!(infos[0].labels["created-by"], "mcp");
    assert!(infos[0].labels.contains_key("mcp-session"));
    assert!(infos[0].expires_at.is_some());
    world.finish().await;
}

async fn further_sandboxes_are_apart() {
    let mut world = World::start().await;
    world.run("echo own > file").await;
    let created = world.use_tool("sandbox_create", json!({})).await;
    assert_eq!(created["state"], "ready");
    let id = &created["sandbox"];
    world
        .use_tool(
            "file_write",
            json!({"sandbox": id, "path": "file", "content": "other"}),
        )
        .await;
    assert_eq!(world.run("cat file").await, "own\n");
    let read = world
        .use_tool("file_read", json!({"sandbox": id, "path": "file"}))
        .await;
    assert_eq!(read["content"], "other");
    assert_eq!(&read["sandbox"], id);
    world
        .use_tool("sandbox_delete", json!({"sandbox": id}))
        .await;
    assert_eq!(world.sandboxes().await.len(), 1);
    let gone = world
        .fail("file_read", json!({"sandbox": id, "path": "file"}))
        .await;
    assert!(gone.contains("no sandbox"), "{gone}");
    world.fail("sandbox_delete", json!({"sandbox": id})).await;
    world.finish().await;
}

async fn the_operator_limits_their_number() {
    let mut world = World::start_with(|config, _| config.max_sandboxes = 2).await;
    world.run("true").await;
    let second = world.use_tool("sandbox_create", json!({})).await;
    let refused = world.fail("sandbox_create", json!({})).await;
    assert!(refused.contains("2 sandboxes"), "{refused}");
    world
        .use_tool("sandbox_delete", json!({"sandbox": second["sandbox"]}))
        .await;
    let third = world.use_tool("sandbox_create", json!({})).await;
    // One that ends by itself makes room, too.
    let client = crate::support::client_of(world.dir.path()).await;
    let id = third["sandbox"].as_str().unwrap().parse().unwrap();
    client.delete_sandbox(&id).await.unwrap();
    world.use_tool("sandbox_create", json!({})).await;
    world.finish().await;
}

async fn a_model_chooses_only_permitted_images() {
    let mut world = World::start().await;
    for arguments in [
        json!({"image": "evil"}),
        json!({"memory": "64Gi"}),
        json!({"ttl": 1}),
    ] {
        world.fail("sandbox_create", arguments).await;
    }
    world.finish().await;
    let images = |config: &mut sandbox_mcp::McpConfig, _: &std::path::Path| {
        config.images = vec!["a:1".to_owned(), "b:2".to_owned()];
    };
    let mut world = World::start_with(images).await;
    let tools = world.request("tools/list", json!({})).await;
    let image = &tools["result"]["tools"][0]["inputSchema"]["properties"]["image"];
    assert_eq!(image["enum"], json!(["a:1", "b:2"]));
    let refused = world.fail("sandbox_create", json!({"image": "a:2"})).await;
    assert!(refused.contains("a:1, b:2"), "{refused}");
    // The local backend has no images, and says so.
    let unsupported = world.fail("sandbox_create", json!({"image": "b:2"})).await;
    assert!(unsupported.contains("b:2"), "{unsupported}");
    world.finish().await;
}

async fn a_signal_deletes_everything() {
    let mut world = World::start().await;
    world.run("true").await;
    world.use_tool("sandbox_create", json!({})).await;
    let _waiting = world
        .begin_call("command_run", json!({"command": "sleep 1000"}))
        .await;
    world.stop();
    world.wait_for_end().await;
}

async fn a_client_that_vanishes_leaves_nothing() {
    let mut world = World::start().await;
    world.run("true").await;
    // In the middle of a creation, of a command, and of a message.
    world.begin_call("sandbox_create", json!({})).await;
    world
        .begin_call("command_run", json!({"command": "sleep 1000"}))
        .await;
    world.send_line("{\"jsonrpc\": \"2.0\", \"id\"").await;
    world.finish().await;
    // Before the first message.
    World::start_silent(|_, _| {}).await.finish().await;
}

async fn an_ended_sandbox_is_replaced_and_that_is_said() {
    // Its room is given back, too.
    let mut world = World::start_with(|config, _| config.max_sandboxes = 1).await;
    world.run("echo precious > file").await;
    let client = crate::support::client_of(world.dir.path()).await;
    let id = world.sandboxes().await[0].id.clone();
    client.delete_sandbox(&id).await.unwrap();
    let message = world
        .fail("command_run", json!({"command": "cat file"}))
        .await;
    assert!(
        message.contains("has ended") && message.contains("gone"),
        "{message}"
    );
    assert_eq!(world.run("ls").await, "");
    world.finish().await;
}

async fn use_postpones_the_end() {
    let mut world = World::start_with(|config, _| config.ttl = Duration::from_secs(4)).await;
    world.run("echo kept > file").await;
    for _ in 0..12 {
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(world.run("cat file").await, "kept\n");
    }
    world.finish().await;
}

async fn tools_are_described() {
    let mut world = World::start_with(|config, dir| {
        config.preview = true;
        config.share = Some(dir.to_owned());
    })
    .await;
    let listed = world.request("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    assert_eq!(tools.len(), 13);
    for tool in tools {
        let name = tool["name"].as_str().unwrap();
        assert!(
            tool["description"]
                .as_str()
                .is_some_and(|text| text.len() > 20)
        );
        for schema in [&tool["inputSchema"], &tool["outputSchema"]] {
            assert_eq!(schema["type"], "object", "{name}");
        }
        assert_eq!(tool["inputSchema"]["additionalProperties"], false, "{name}");
        let reads = ["sandbox_list", "file_read", "file_list", "job_wait"].contains(&name);
        assert_eq!(tool["annotations"]["readOnlyHint"], reads, "{name}");
        for hint in ["destructiveHint", "openWorldHint", "idempotentHint"] {
            assert!(tool["annotations"][hint].is_boolean(), "{name} {hint}");
        }
    }
    // Without images there is none to choose.
    assert_eq!(tools[0]["inputSchema"]["properties"], json!({}));
    // A schema costs the model's attention in every conversation.
    let size = listed.to_string().len();
    assert!(size < 22_000, "{size}");
    world.finish().await;
    let mut world = World::start().await;
    let listed = world.request("tools/list", json!({})).await;
    assert_eq!(listed["result"]["tools"].as_array().map(Vec::len), Some(10));
    for tool in ["port_url", "upload", "download", "nothing"] {
        let response = world
            .request("tools/call", json!({"name": tool, "arguments": {}}))
            .await;
        assert_eq!(response["error"]["code"], -32602, "{response}");
    }
    world.finish().await;
}

async fn every_call_is_recorded() {
    let mut world = World::start_with(|config, dir| config.audit = Some(dir.join("audit"))).await;
    world
        .use_tool(
            "file_write",
            json!({"path": "file", "content": "hush-hush"}),
        )
        .await;
    world
        .use_tool(
            "command_run",
            json!({"command": "TOKEN=hush-hush true", "env": {"KEY": "hush-hush"}}),
        )
        .await;
    world.fail("file_read", json!({"path": "missing"})).await;
    world
        .request(
            "tools/call",
            json!({"name": "nothing", "arguments": {"secret": "x"}}),
        )
        .await;
    let lines = world.audit_lines();
    let outcomes: Vec<_> = lines
        .iter()
        .map(|line| {
            (
                line["tool"].as_str().unwrap(),
                line["outcome"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        outcomes,
        [
            ("file_write", "ok"),
            ("command_run", "ok"),
            ("file_read", "failed"),
            ("nothing", "refused"),
        ]
    );
    assert_eq!(lines[0]["client"], "test");
    assert_eq!(lines[1]["detail"], "exit code 0");
    let sandbox = world.sandboxes().await[0].id.to_string();
    assert!(
        lines[..2]
            .iter()
            .all(|line| line["sandbox"] == sandbox.as_str()),
        "{lines:?}"
    );
    assert_eq!(lines[1]["arguments"]["env"], json!(["KEY"]));
    assert!(
        lines
            .iter()
            .all(|line| line["duration_ms"].is_u64() && line["time"].is_string())
    );
    assert!(!Value::from(lines).to_string().contains("hush-hush"));
    world.finish().await;
}
