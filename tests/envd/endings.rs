//! How streams end: by timeouts, by clients that leave or do not read, and with the sandbox.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use http::Method;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::client::{Gateway, Guest};
use crate::exchange::eventually;

crate::tests! {
    a_timeout_kills_the_process,
    a_timeout_of_an_attached_client_ends_only_its_stream,
    a_client_that_leaves_kills_nothing,
    a_silent_stream_is_kept_alive,
    a_client_that_does_not_read_holds_the_process_back,
    a_pause_resets_streams_and_hides_the_sandbox,
    the_end_of_a_sandbox_resets_its_streams,
}

async fn a_timeout_kills_the_process(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let started = Instant::now();
    let headers = [("connect-timeout-ms", "500")];
    let mut events = guest
        .start_with("sleep 60 & wait", json!({}), &headers)
        .await;
    let pid = events.pid().await;
    let done = events.collect().await;
    assert_eq!(done.code(), "deadline_exceeded", "{done:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    let left = guest
        .run(&format!("kill -0 -{pid} 2>&- || echo gone"))
        .await;
    assert_eq!(left, "gone\n", "its whole group was killed");
}

async fn a_timeout_of_an_attached_client_ends_only_its_stream(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut events = guest.start("sleep 60").await;
    let pid = events.pid().await;
    let message = [json!({"process": {"pid": pid}})];
    let headers = [("connect-timeout-ms", "300")];
    let attached = guest
        .stream_with("process.Process/Connect", &message, &headers)
        .await;
    assert_eq!(attached.collect().await.code(), "deadline_exceeded");
    assert_eq!(pids(&guest).await, [pid]);
}

async fn a_client_that_leaves_kills_nothing(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let script = "read line; head -c 10000000 /dev/zero; touch /tmp/done; sleep 60";
    let mut events = guest.start_with(script, json!({"stdin": true}), &[]).await;
    let pid = events.pid().await;
    drop(events);
    let input = json!({"process": {"pid": pid}, "input": {"stdin": "eAo="}});
    guest.ok("process.Process/SendInput", input).await;
    // What it writes now is received by nobody, and does not block it.
    eventually("its output is drained", async || {
        guest.run("cat /tmp/done && echo yes").await == "yes\n"
    })
    .await;
    assert_eq!(pids(&guest).await, [pid]);
}

async fn a_silent_stream_is_kept_alive(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let headers = [("keepalive-ping-interval", "1")];
    let mut events = guest.start_with("sleep 60", json!({}), &headers).await;
    events.pid().await;
    for _ in 0..2 {
        assert_eq!(events.message().await, json!({"event": {"keepalive": {}}}));
    }
}

async fn a_client_that_does_not_read_holds_the_process_back(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    // 64 MiB in steps that it counts.
    let script =
        "i=0; while [ $i -lt 64 ]; do head -c 1048576 /dev/zero; i=$((i+1)); echo $i >/tmp/i; done";
    let mut events = guest.start(script).await;
    events.pid().await;
    let progress = async || {
        let text = guest.run("cat /tmp/i 2>&- || echo 0").await;
        text.trim().parse::<u32>().unwrap()
    };
    let mut before = progress().await;
    eventually("it is held back", async || {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let now = progress().await;
        let is_held = now == before && now > 0;
        before = now;
        is_held
    })
    .await;
    assert!(before < 32, "{before} MiB were taken without a reader");
    let done = events.collect().await;
    assert_eq!(done.end, json!({}), "and goes on with one");
    assert_eq!(done.data("stdout").len(), 64 << 20);
}

async fn a_pause_resets_streams_and_hides_the_sandbox(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut command = guest.start("sleep 60").await;
    let pid = command.pid().await;
    guest.sandbox.pause().await.unwrap();
    assert_eq!(guest.get("/health").await.status, 502);
    let message = guest.call("process.Process/List", json!({})).await;
    assert_eq!(message.status, 502, "{message:?}");
    let error = command.try_next().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    guest.sandbox.resume(None).await.unwrap();
    assert_eq!(guest.get("/health").await.status, 204);
    assert_eq!(pids(&guest).await, [pid]);
}

async fn the_end_of_a_sandbox_resets_its_streams(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut command = guest.start("sleep 60").await;
    command.pid().await;
    assert_eq!(guest.get("/health").await.status, 204);
    guest.delete().await;
    let error = command.try_next().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
    // E2B's SDKs take the sandbox for gone because of this text.
    let gone = json!({"sandboxId": guest.id, "message": "The sandbox was not found", "code": 502});
    for path in ["/health", "/files?path=a", "/metrics", "/envs"] {
        let answer = guest.get(path).await;
        assert_eq!(
            (answer.status, answer.json()),
            (502, gone.clone()),
            "{path}"
        );
    }
    for (method, content_type) in [
        ("process.Process/List", "application/json"),
        ("process.Process/Start", "application/connect+json"),
        ("filesystem.Filesystem/Stat", "application/json"),
    ] {
        let request = guest
            .request(Method::POST, &format!("/{method}"))
            .header("content-type", content_type)
            .body(Full::from("{}"));
        let answer = guest.send(request.unwrap()).await;
        assert_eq!(
            (answer.status, answer.json()),
            (502, gone.clone()),
            "{method}"
        );
    }
}

async fn pids(guest: &Guest) -> Vec<u64> {
    let listed = guest.ok("process.Process/List", json!({})).await;
    let pid = |process: &Value| process["pid"].as_u64().unwrap();
    listed["processes"]
        .as_array()
        .unwrap()
        .iter()
        .map(pid)
        .collect()
}

pub(crate) fn is_reset(error: &hyper::Error) -> bool {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(cause) = cause.downcast_ref::<io::Error>() {
            return cause.kind() == io::ErrorKind::ConnectionReset;
        }
        source = cause.source();
    }
    false
}
