//! What sandboxes may reach, which the operator decides. Everything stays on this machine.

use sandbox::Egress;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::World;

crate::cases![
    rules_are_the_operator_s_and_decisions_are_recorded,
    without_rules_there_is_no_network_and_that_is_said,
];

/// Sends a request for the URL in `$URL` through the proxy, and prints the status.
const ASK: &str = "python3 -c \"
import http.client, os
connection = http.client.HTTPConnection('127.0.0.1', int(os.environ['HTTP_PROXY'].rsplit(':', 1)[1]), timeout=20)
connection.request('GET', os.environ['URL'])
print(connection.getresponse().status)
\"";

async fn ask(world: &mut World, url: &str) -> String {
    let arguments = json!({"command": ASK, "env": {"URL": url}});
    let data = world.use_tool("command_run", arguments).await;
    data["output"].as_str().unwrap().trim().to_owned()
}

async fn description(world: &mut World, tool: &str) -> String {
    let listed = world.request("tools/list", json!({})).await;
    let tools = listed["result"]["tools"].as_array().unwrap();
    let found = tools.iter().find(|found| found["name"] == tool).unwrap();
    found["description"].as_str().unwrap().to_owned()
}

/// A web server of this machine; returns its port.
async fn start_web_server() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _read = stream.read(&mut [0; 4096]).await;
            let response = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
            let _written = stream.write_all(response).await;
        }
    });
    port
}

async fn rules_are_the_operator_s_and_decisions_are_recorded() {
    let port = start_web_server().await;
    let rule = format!("127.0.0.0/8:{port}");
    let mut world = World::start_with(|config, dir| {
        config.egress = Some(Egress::none().allow(&rule).unwrap());
        config.audit = Some(dir.join("audit"));
    })
    .await;
    let text = description(&mut world, "command_run").await;
    assert!(text.contains(&format!("none +{rule}")), "{text}");
    let url = format!("http://127.0.0.1:{port}/");
    assert_eq!(ask(&mut world, &url).await, "200");
    assert_eq!(ask(&mut world, "http://evil.example/").await, "403");

    // A model changes nothing about it.
    for arguments in [json!({"egress": "open"}), json!({"egress_allow": ["*"]})] {
        world.fail("sandbox_create", arguments).await;
    }
    let created = world.use_tool("sandbox_create", json!({})).await;
    let arguments = json!({"sandbox": created["sandbox"], "command": ASK, "env": {"URL": "http://evil.example/"}});
    let data = world.use_tool("command_run", arguments).await;
    assert_eq!(data["output"], "403\n");

    // A decision is recorded when it was made, which is before its response.
    let lines = world.audit_lines();
    let decisions: Vec<&Value> = lines
        .iter()
        .filter(|line| line["egress"].is_object())
        .collect();
    let refused: Vec<&&Value> = decisions
        .iter()
        .filter(|line| line["egress"]["outcome"] == "refused")
        .collect();
    assert_eq!(refused.len(), 2, "{lines:?}");
    assert_eq!(refused[0]["egress"]["host"], "evil.example");
    assert_eq!(refused[1]["sandbox"], created["sandbox"]);
    let opened = decisions
        .iter()
        .find(|line| line["egress"]["outcome"] == "opened");
    let opened = opened.unwrap();
    assert_eq!(opened["egress"]["rule"], format!("allow {rule}"));
    assert_eq!(opened["egress"]["port"], port);
    assert!(opened["time"].is_string() && opened["session"].is_string());
    world.finish().await;
}

async fn without_rules_there_is_no_network_and_that_is_said() {
    let mut world = World::start().await;
    let text = description(&mut world, "command_run").await;
    assert!(text.contains("no network"), "{text}");
    assert_eq!(world.run("echo ${HTTP_PROXY-none}").await, "none\n");
    world.finish().await;
}
