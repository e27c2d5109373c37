//! Terminals.

use std::sync::Arc;

use serde_json::json;

use crate::client::Gateway;
use crate::events::encode;

crate::tests! {
    a_terminal_has_its_size_and_can_be_resized,
    what_has_no_terminal_is_not_resized,
}

async fn a_terminal_has_its_size_and_can_be_resized(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let message = json!({
        "process": {"cmd": "/bin/sh", "args": ["-i"], "envs": {"TERM": "xterm", "PS1": "> "}},
        "pty": {"size": {"cols": 81, "rows": 25}},
    });
    let mut events = guest.stream("process.Process/Start", message).await;
    let pid = events.pid().await;
    let enter = async |text: &str| {
        let input = json!({"process": {"pid": pid}, "input": {"pty": encode(text.as_bytes())}});
        guest.ok("process.Process/SendInput", input).await;
    };
    enter("stty size\n").await;
    events.wait_for("25 81").await;
    let size = json!({"process": {"pid": pid}, "pty": {"size": {"cols": 100, "rows": 30}}});
    guest.ok("process.Process/Update", size).await;
    enter("stty size\n").await;
    events.wait_for("30 100").await;
    let stdin = json!({"process": {"pid": pid}, "input": {"stdin": "aGk="}});
    let refused = guest.call("process.Process/SendInput", stdin).await;
    assert_eq!(refused.json()["code"], "internal");
    let closed = json!({"process": {"pid": pid}});
    let refused = guest.call("process.Process/CloseStdin", closed).await;
    assert_eq!(refused.json()["code"], "internal");
    let streamed = [
        json!({"start": {"process": {"pid": pid}}}),
        json!({"data": {"input": {"pty": encode(b"exit 4\n")}}}),
    ];
    let method = "process.Process/StreamInput";
    let done = guest.stream_with(method, &streamed, &[]).await;
    assert_eq!(done.collect().await.end, json!({}));
    assert_eq!(events.collect().await.process_end()["exitCode"], 4);
}

async fn what_has_no_terminal_is_not_resized(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest.start("sleep 60").await;
    let pid = events.pid().await;
    let size = json!({"process": {"pid": pid}, "pty": {"size": {"cols": 100, "rows": 30}}});
    let refused = guest.call("process.Process/Update", size).await;
    assert_eq!(
        (refused.status, refused.json()["code"].as_str()),
        (500, Some("internal"))
    );
}
