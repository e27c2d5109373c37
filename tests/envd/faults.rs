//! Replicas that are killed, clients that vanish or do not read, sandboxes that end meanwhile.

use std::sync::Arc;
use std::time::Duration;

use http::Method;
use http_body_util::Full;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::client::{Gateway, Guest};
use crate::endings::is_reset;
use crate::exchange::eventually;

crate::tests! {
    a_killed_replica_loses_no_process,
    a_watcher_outlives_its_replica,
    the_end_of_a_sandbox_resets_downloads_and_watches,
    a_download_that_is_not_read_blocks_nothing_else,
    a_client_that_takes_nothing_is_cut_off,
    a_client_that_vanishes_during_an_upload_harms_nothing,
    requests_resume_a_paused_sandbox_that_allows_it,
}

/// Larger than what is on its way anywhere.
const LARGE: usize = 64 << 20;

async fn a_killed_replica_loses_no_process(gateway: Arc<Gateway>) {
    let first = gateway.start_replica(|_| {}).await;
    let second = gateway.start_replica(|_| {}).await;
    let guest = gateway.create().await.through(&first);
    let script = "i=0; while read line; do i=$((i+1)); echo $i $line; done; echo end";
    let mut events = guest.start_with(script, json!({"stdin": true}), &[]).await;
    let pid = events.pid().await;
    let say = async |guest: &Guest| {
        let input = json!({"process": {"pid": pid}, "input": {"stdin": "aGkK"}});
        guest.ok("process.Process/SendInput", input).await;
    };
    say(&guest).await;
    events.wait_for("1 hi\n").await;

    first.kill();
    let error = loop {
        match events.try_next().await {
            Ok(Some(_)) => {}
            // An end would be taken for that of the process.
            Ok(None) => panic!("the stream ended as if it were complete"),
            Err(error) => break error,
        }
    };
    assert!(is_reset(&error), "{error:?}");

    // The client asks again, and the other replica answers.
    let guest = guest.through(&second);
    let message = json!({"process": {"pid": pid}});
    let mut attached = guest.stream("process.Process/Connect", message).await;
    assert_eq!(attached.pid().await, pid);
    say(&guest).await;
    attached.wait_for("2 hi\n").await;
    let close = json!({"process": {"pid": pid}});
    guest.ok("process.Process/CloseStdin", close).await;
    let done = attached.collect().await;
    assert_eq!(done.stdout(), "end\n");
    assert_eq!(done.process_end()["exitCode"], 0);
}

async fn a_watcher_outlives_its_replica(gateway: Arc<Gateway>) {
    let first = gateway.start_replica(|_| {}).await;
    let second = gateway.start_replica(|_| {}).await;
    let guest = gateway.create().await.through(&first);
    guest.run("mkdir -p /tmp/watched").await;
    let message = json!({"path": "/tmp/watched"});
    let watcher = guest
        .ok("filesystem.Filesystem/CreateWatcher", message)
        .await;
    first.kill();
    let guest = guest.through(&second);
    guest.run("touch /tmp/watched/file").await;
    let mut names = Vec::new();
    eventually("the event is kept", async || {
        let message = json!({"watcherId": watcher["watcherId"]});
        let got = guest
            .ok("filesystem.Filesystem/GetWatcherEvents", message)
            .await;
        let events = got["events"].as_array().cloned().unwrap_or_default();
        names.extend(events.iter().map(|event| event["name"].clone()));
        names.contains(&json!("file"))
    })
    .await;
}

async fn make_large(guest: &Guest) {
    let size = guest
        .run(&format!(
            "truncate -s {LARGE} /tmp/large && stat -c %s /tmp/large"
        ))
        .await;
    assert_eq!(size.trim(), LARGE.to_string());
}

async fn the_end_of_a_sandbox_resets_downloads_and_watches(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    make_large(&guest).await;
    let request = guest.request(Method::GET, "/files?path=/tmp/large");
    let mut download = guest.begin(request.body(Full::default()).unwrap()).await;
    download.next().await.unwrap().unwrap();
    let message = json!({"path": "/tmp"});
    let mut watch = guest
        .stream("filesystem.Filesystem/WatchDir", message)
        .await;
    assert_eq!(watch.message().await, json!({"start": {}}));
    guest.delete().await;
    let error = loop {
        match download.next().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("the download ended as if it were complete"),
            Err(error) => break error,
        }
    };
    assert!(is_reset(&error), "{error:?}");
    let error = watch.try_next().await.unwrap_err();
    assert!(is_reset(&error), "{error:?}");
}

async fn a_download_that_is_not_read_blocks_nothing_else(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    make_large(&guest).await;
    let mut downloads = Vec::new();
    for _ in 0..4 {
        let request = guest.request(Method::GET, "/files?path=/tmp/large");
        let mut download = guest.begin(request.body(Full::default()).unwrap()).await;
        let first = download.next().await.unwrap().unwrap();
        downloads.push((download, first.len()));
    }
    assert_eq!(guest.run("echo on").await, "on\n");
    assert_eq!(guest.get("/files?path=/etc/passwd").await.status, 200);
    // They go on where they were.
    let (mut download, mut total) = downloads.pop().unwrap();
    while let Some(part) = download.next().await.unwrap() {
        total += part.len();
    }
    assert_eq!(total, LARGE);
}

async fn a_client_that_takes_nothing_is_cut_off(gateway: Arc<Gateway>) {
    let strict = |config: &mut sandbox_gateway::GatewayConfig| {
        config.limits.write_timeout = Duration::from_millis(500);
    };
    let replica = gateway.start_replica(strict).await;
    let guest = gateway.create().await.through(&replica);
    make_large(&guest).await;
    let mut stream = guest.connect().await;
    let head = head_of(&guest, "GET /files?path=/tmp/large HTTP/1.1", 0);
    stream.write_all(head.as_bytes()).await.unwrap();
    // Longer than the limit; what has arrived by then is all that there is.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let mut received = Vec::new();
    let ended = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut received));
    let ended = ended.await.expect("it was cut off");
    assert!(ended.is_err() && received.len() < LARGE, "{ended:?}");
    assert_eq!(guest.run("echo on").await, "on\n");
}

/// The head of a request with a body of this length.
fn head_of(guest: &Guest, line: &str, length: usize) -> String {
    let (id, token) = (&guest.id, &guest.token);
    format!(
        "{line}\r\nhost: x\r\ne2b-sandbox-id: {id}\r\ne2b-sandbox-port: 49983\r\nx-access-token: {token}\r\n\
         content-type: application/octet-stream\r\ncontent-length: {length}\r\n\r\n"
    )
}

async fn a_client_that_vanishes_during_an_upload_harms_nothing(gateway: Arc<Gateway>) {
    let guest = gateway.create().await;
    let mut stream = guest.connect().await;
    let head = head_of(&guest, "POST /files?path=/tmp/up HTTP/1.1", LARGE);
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&vec![1; 1 << 20]).await.unwrap();
    let size = async || {
        let text = guest.run("stat -c %s /tmp/up 2>&- || echo 0").await;
        text.trim().parse::<usize>().unwrap()
    };
    eventually("the content arrives", async || size().await == 1 << 20).await;
    drop(stream);
    // The server closes the file: it is not held open for ever.
    eventually("the file is closed", async || {
        let open = "ls -l /proc/[0-9]*/fd 2>&- | grep -c /tmp/up";
        guest.run(open).await == "0\n"
    })
    .await;
    let request = guest
        .request(Method::POST, "/files?path=/tmp/up")
        .header("content-type", "application/octet-stream");
    let answer = guest.send(request.body(Full::from("whole")).unwrap()).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(guest.run("cat /tmp/up").await, "whole");
    let left = guest.run("ls -A /tmp | grep -v '^up$'").await;
    assert_eq!(left, "", "and no other file is left");
}

async fn requests_resume_a_paused_sandbox_that_allows_it(gateway: Arc<Gateway>) {
    for allows in [false, true] {
        let lifecycle = json!({"onTimeout": "pause", "autoResume": allows});
        let guest = gateway.create_with(lifecycle).await;
        let mut events = guest.start("sleep 60").await;
        let pid = events.pid().await;
        guest.sandbox.pause().await.unwrap();
        let answer = guest.call("process.Process/List", json!({})).await;
        if allows {
            assert_eq!(answer.status, 200, "{answer:?}");
            assert_eq!(answer.json()["processes"][0]["pid"], pid);
        } else {
            assert_eq!(answer.status, 502, "{answer:?}");
        }
        let state = guest.sandbox.pause_state().await.unwrap();
        assert_eq!(state.is_paused, !allows);
    }
}
