//! Commands: started, attached to, listed, written to, signalled.

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::client::Gateway;
use crate::events::{Frame, encode};
use crate::exchange::eventually;

crate::tests! {
    a_command_streams_its_output_and_ends,
    the_start_comes_at_once_with_a_pid_of_the_sandbox,
    a_missing_program_is_exit_code_127,
    variables_and_directory_reach_the_command,
    refused_starts_end_a_stream_with_status_200,
    input_is_written_and_closed,
    input_can_be_streamed,
    a_command_without_input_refuses_it,
    processes_are_listed_as_they_were_requested,
    a_signal_ends_a_command,
    unknown_processes_are_not_found,
    several_clients_can_attach,
    large_output_arrives_whole,
}

async fn a_command_streams_its_output_and_ends(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let done = guest.start("echo out; echo err >&2; exit 3").await;
    let done = done.collect().await;
    assert!(done.messages[0]["event"]["start"]["pid"].as_u64().unwrap() > 0);
    assert_eq!(
        (done.stdout(), done.text("stderr")),
        ("out\n".into(), "err\n".into())
    );
    assert_eq!(
        *done.process_end(),
        json!({"exitCode": 3, "exited": true, "status": "exit status 3", "error": "exit status 3"})
    );
    assert_eq!(done.end, json!({}));
    let done = guest.start("true").await.collect().await;
    assert_eq!(
        *done.process_end(),
        json!({"exitCode": 0, "exited": true, "status": "exit status 0"})
    );
}

async fn the_start_comes_at_once_with_a_pid_of_the_sandbox(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let started = Instant::now();
    let mut events = guest.start("sleep 60").await;
    let pid = events.pid().await;
    assert!(started.elapsed() < Duration::from_secs(5));
    let seen = guest.run(&format!("kill -0 {pid} && echo alive")).await;
    assert_eq!(seen, "alive\n");
}

async fn a_missing_program_is_exit_code_127(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let message = json!({"process": {"cmd": "/nowhere/program"}});
    let done = guest.stream("process.Process/Start", message).await;
    let done = done.collect().await;
    assert_eq!(done.process_end()["exitCode"], 127, "{done:?}");
    assert_eq!(done.end, json!({}));
}

async fn variables_and_directory_reach_the_command(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let more =
        json!({"process": {"envs": {"A": "1\n2 'x'", "E2B_TEMPLATE_ID": "mine"}, "cwd": "/tmp"}});
    let script = "echo \"$A|$E2B_SANDBOX|$E2B_SANDBOX_ID|$E2B_TEMPLATE_ID|$PWD\"";
    let done = guest.start_with(script, more, &[]).await.collect().await;
    assert_eq!(
        done.stdout(),
        format!("1\n2 'x'|true|{}|mine|/tmp\n", guest.id)
    );
    // Without one, the directory is the home directory.
    assert_eq!(
        guest.run("[ \"$PWD\" = \"$HOME\" ] && echo home").await,
        "home\n"
    );
}

async fn refused_starts_end_a_stream_with_status_200(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let cases = [
        (
            json!({"process": {"cwd": "/nowhere"}}),
            vec![],
            "invalid_argument",
        ),
        (json!({"process": {"cmd": ""}}), vec![], "invalid_argument"),
        (
            json!({"pty": {"size": {"cols": 70000, "rows": 1}}}),
            vec![],
            "invalid_argument",
        ),
        (json!({"stdin": 1}), vec![], "invalid_argument"),
        (
            json!({}),
            vec![("connect-timeout-ms", "x")],
            "invalid_argument",
        ),
        // nobody-here:
        (
            json!({}),
            vec![("authorization", "Basic bm9ib2R5LWhlcmU6")],
            "unauthenticated",
        ),
    ];
    for (more, headers, code) in cases {
        let done = guest.start_with("true", more.clone(), &headers).await;
        let done = done.collect().await;
        assert_eq!(done.code(), code, "{more} {headers:?}: {done:?}");
        assert!(done.messages.is_empty());
    }
}

async fn input_is_written_and_closed(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest
        .start_with("cat; echo done", json!({"stdin": true}), &[])
        .await;
    let pid = events.pid().await;
    for part in [&b"one "[..], b"", b"\xc3\xa9\n"] {
        let message = json!({"process": {"pid": pid}, "input": {"stdin": encode(part)}});
        assert_eq!(
            guest.ok("process.Process/SendInput", message).await,
            json!({})
        );
    }
    assert_eq!(events.wait_for("\n").await, "one é\n");
    let selected = json!({"process": {"pid": pid}});
    guest
        .ok("process.Process/CloseStdin", selected.clone())
        .await;
    assert_eq!(events.collect().await.stdout(), "done\n");
    let closed = guest.call("process.Process/CloseStdin", selected).await;
    assert_eq!(closed.status, 404, "it has ended");
}

async fn input_can_be_streamed(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest.start_with("cat", json!({"stdin": true}), &[]).await;
    let pid = events.pid().await;
    let data = |text: &str| json!({"data": {"input": {"stdin": encode(text.as_bytes())}}});
    let messages = [
        json!({"start": {"process": {"pid": pid}}}),
        data("one "),
        json!({"keepalive": {}}),
        data("two\n"),
    ];
    let method = "process.Process/StreamInput";
    let done = guest.stream_with(method, &messages, &[]).await;
    let done = done.collect().await;
    assert_eq!((done.messages, done.end), (vec![json!({})], json!({})));
    assert_eq!(events.wait_for("two\n").await, "one two\n");
    let unnamed = guest.stream_with(method, &[data("x")], &[]).await;
    assert_eq!(unnamed.collect().await.code(), "invalid_argument");
    let unknown = [json!({"start": {"process": {"pid": 4_000_000}}}), data("x")];
    let unknown = guest.stream_with(method, &unknown, &[]).await;
    assert_eq!(unknown.collect().await.code(), "not_found");
}

async fn a_command_without_input_refuses_it(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest.start("sleep 60").await;
    let pid = events.pid().await;
    for input in [json!({"stdin": "aGk="}), json!({"pty": "aGk="})] {
        let message = json!({"process": {"pid": pid}, "input": input});
        let refused = guest.call("process.Process/SendInput", message).await;
        assert_eq!(refused.status, 500, "{refused:?}");
        assert_eq!(refused.json()["code"], "internal");
    }
    let message = json!({"process": {"pid": pid}, "input": {"stdin": "!"}});
    let refused = guest.call("process.Process/SendInput", message).await;
    assert_eq!(refused.json()["code"], "invalid_argument");
}

async fn processes_are_listed_as_they_were_requested(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let list = "process.Process/List";
    assert_eq!(guest.ok(list, json!({})).await, json!({"processes": []}));
    let more = json!({"tag": "t", "process": {"envs": {"A": "1"}, "cwd": "/tmp"}});
    let mut events = guest.start_with("sleep 60", more, &[]).await;
    let pid = events.pid().await;
    assert_eq!(
        guest.ok(list, json!({})).await,
        json!({"processes": [{
            "config": {
                "cmd": "/bin/sh", "args": ["-c", "sleep 60"], "envs": {"A": "1"}, "cwd": "/tmp",
            },
            "pid": pid,
            "tag": "t",
        }]})
    );
}

async fn a_signal_ends_a_command(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    for (signal, status) in [
        (json!("SIGNAL_SIGKILL"), "signal: killed"),
        (json!(15), "signal: terminated"),
    ] {
        let mut events = guest.start("sleep 60 & wait").await;
        let pid = events.pid().await;
        let message = json!({"process": {"pid": pid}, "signal": signal});
        guest
            .ok("process.Process/SendSignal", message.clone())
            .await;
        let done = events.collect().await;
        assert_eq!(
            *done.process_end(),
            json!({"exitCode": -1, "exited": false, "status": status, "error": status})
        );
        // It is reaped by then, and the SDKs take this for `false`.
        let again = guest.call("process.Process/SendSignal", message).await;
        assert_eq!(
            (again.status, again.json()["code"].as_str()),
            (404, Some("not_found"))
        );
        let seen = guest.run(&format!("kill -0 {pid} 2>&- || echo gone")).await;
        assert_eq!(seen, "gone\n");
    }
}

async fn unknown_processes_are_not_found(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let selector = json!({"pid": 4_000_000});
    let calls = [
        (
            "SendSignal",
            json!({"process": selector, "signal": "SIGNAL_SIGTERM"}),
        ),
        (
            "SendInput",
            json!({"process": selector, "input": {"stdin": "aGk="}}),
        ),
        ("CloseStdin", json!({"process": selector})),
        (
            "Update",
            json!({"process": selector, "pty": {"size": {"cols": 1, "rows": 1}}}),
        ),
    ];
    for (method, message) in calls {
        let answer = guest
            .call(&format!("process.Process/{method}"), message)
            .await;
        assert_eq!(answer.status, 404, "{method}: {answer:?}");
        assert_eq!(answer.json()["code"], "not_found");
    }
    let message = json!({"process": selector});
    let events = guest.stream("process.Process/Connect", message).await;
    assert_eq!(events.collect().await.code(), "not_found");
    let unnamed = guest.call("process.Process/CloseStdin", json!({})).await;
    assert_eq!(unnamed.json()["code"], "invalid_argument");
    let message = json!({"process": selector, "signal": "SIGNAL_UNSPECIFIED"});
    let other = guest.call("process.Process/SendSignal", message).await;
    assert_eq!(
        (other.status, other.json()["code"].as_str()),
        (501, Some("unimplemented"))
    );
}

async fn several_clients_can_attach(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let script = "echo early; read line; echo late; exit 5";
    let mut first = guest.start_with(script, json!({"stdin": true}), &[]).await;
    let pid = first.pid().await;
    first.wait_for("early").await;
    let message = json!({"process": {"pid": pid}});
    let mut second = guest
        .stream("process.Process/Connect", message.clone())
        .await;
    assert_eq!(second.pid().await, pid);
    let input = json!({"process": {"pid": pid}, "input": {"stdin": encode(b"x\n")}});
    guest.ok("process.Process/SendInput", input).await;
    for events in [first, second] {
        let done = events.collect().await;
        assert_eq!(done.stdout(), "late\n", "nothing from before it attached");
        assert_eq!(done.process_end()["exitCode"], 5);
    }
    // The end is kept for a while.
    let third = guest.stream("process.Process/Connect", message).await;
    let done = third.collect().await;
    assert_eq!(done.messages.len(), 2, "{done:?}");
    assert_eq!(done.process_end()["exitCode"], 5);
}

async fn large_output_arrives_whole(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest.start("head -c 20000000 /dev/zero").await;
    let mut size = 0;
    loop {
        match events.next().await.unwrap() {
            Frame::Message(message) => {
                if let Some(text) = message["event"]["data"]["stdout"].as_str() {
                    assert!(text.len() <= 44_000, "frames are small");
                    size += text.len() / 4 * 3 - text.bytes().filter(|b| *b == b'=').count();
                }
            }
            Frame::End(end) => {
                assert_eq!(end, json!({}));
                break;
            }
        }
    }
    assert_eq!(size, 20_000_000);
    eventually("the process is gone", async || {
        guest.ok("process.Process/List", json!({})).await == json!({"processes": []})
    })
    .await;
}
