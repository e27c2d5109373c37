//! Several clients of one process, and clients that do not read.

use std::time::{Duration, Instant};

use sandbox_core::guest::{ProcessEnd, ProcessSpec, RefusalCode};

use super::{Attached, PIPE, attach, list, refusal, run, sh, signal, start, wait_for};
use crate::support::client::{LONG, TestSandbox, exec};

/// Waits until a file in the home directory exists.
async fn wait_for_file(sandbox: &TestSandbox, name: &str) {
    let path = sandbox.home.path().join(name);
    wait_for(name, async || path.exists()).await;
}

fn create(sandbox: &TestSandbox, name: &str) {
    std::fs::write(sandbox.home.path().join(name), "").unwrap();
}

#[tokio::test]
async fn a_process_outlives_its_client_and_others_attach() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let script = "echo first; until [ -e go ]; do sleep 0.02; done; echo second; exit 5";
    let mut starter = start(&client, sh(script).tag("t")).await;
    starter.receive_until("first\n").await;
    let pid = starter.pid;
    // The end of the channel, and of the connection, only detach.
    drop(starter);
    drop(client);
    let client = sandbox.connect(PIPE).await;
    let other = sandbox.connect(PIPE).await;
    let attached = [
        attach(&client, pid).await.unwrap(),
        attach(&other, "t").await.unwrap(),
        attach(&other, pid).await.unwrap(),
    ];
    create(&sandbox, "go");
    for attached in attached {
        assert_eq!(attached.pid, pid);
        let events = attached.finish().await;
        assert_eq!(&*events.stdout, b"second\n", "only what is new");
        assert_eq!(events.end, Some(ProcessEnd::Exited(5)));
    }
    // Its end is remembered, and is all that arrives.
    for _ in 0..2 {
        let late = attach(&client, pid).await.unwrap().finish().await;
        assert_eq!(
            (late.stdout.len(), late.end),
            (0, Some(ProcessEnd::Exited(5)))
        );
    }
    assert!(list(&client).await.is_empty());
}

#[tokio::test]
async fn output_that_nobody_receives_never_blocks() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let script = "echo up; until [ -e go ]; do sleep 0.02; done; \
        head -c 30000000 /dev/zero; head -c 3000000 /dev/zero >&2; touch written; \
        until [ -e seen ]; do sleep 0.02; done; echo end";
    let mut starter = start(&client, sh(script)).await;
    starter.receive_until("up\n").await;
    let pid = starter.pid;
    drop(starter);
    create(&sandbox, "go");
    wait_for_file(&sandbox, "written").await;
    let attached = attach(&client, pid).await.unwrap();
    create(&sandbox, "seen");
    assert_eq!(attached.finish().await.stdout, b"end\n");
}

#[tokio::test]
async fn a_slow_client_holds_the_process_back_and_loses_nothing() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let script = "head -c 40000000 /dev/zero; touch written";
    let slow = start(&client, sh(script)).await;
    // It reads nothing, so the process cannot write all. Other channels of the connection go on.
    let fast = attach(&client, slow.pid).await.unwrap();
    assert_eq!(exec(&client, "echo hi").await.stdout, b"hi\n");
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!sandbox.home.path().join("written").exists());
    let (slow, fast) = tokio::join!(slow.finish(), fast.finish());
    assert_eq!(slow.stdout.len(), 40_000_000);
    assert_eq!(slow.end, Some(ProcessEnd::Exited(0)));
    assert!(fast.stdout.len() <= 40_000_000 && fast.end == slow.end);
}

#[tokio::test]
async fn a_client_that_does_not_read_is_detached_after_a_while() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let other = sandbox.connect(PIPE).await;
    let slow = start(&client, sh("head -c 9000000 /dev/zero")).await;
    let begun = Instant::now();
    let fast = attach(&other, slow.pid).await.unwrap().finish().await;
    assert_eq!(fast.end, Some(ProcessEnd::Exited(0)));
    assert!(begun.elapsed() > Duration::from_secs(29));
    let pid = slow.pid;
    let events = slow.finish().await;
    assert_eq!(events.end, None);
    assert!(events.stdout.len() < 9_000_000, "{}", events.stdout.len());
    let refusal = events.refusal.unwrap();
    assert_eq!(refusal.code, RefusalCode::TooSlow);
    assert!(refusal.message.contains(&pid.to_string()), "{refusal}");
}

#[tokio::test]
async fn what_a_process_leaves_behind_does_not_defer_its_end_and_goes_on() {
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_millis(100)));
    let client = sandbox.connect(PIPE).await;
    let script = "(until [ -e go ]; do sleep 0.02; done; head -c 1000000 /dev/zero; touch done) & echo begun";
    let begun = Instant::now();
    let events = run(&client, sh(script)).await;
    assert!(begun.elapsed() < LONG / 2);
    assert_eq!(&*events.stdout, b"begun\n");
    assert_eq!(events.end, Some(ProcessEnd::Exited(0)));
    create(&sandbox, "go");
    wait_for_file(&sandbox, "done").await;
}

#[tokio::test]
async fn a_process_is_use_of_the_sandbox_until_its_end() {
    let sandbox = TestSandbox::new(|config| config.with_idle_timeout(Duration::from_millis(300)));
    let client = sandbox.connect(PIPE).await;
    let serving = sandbox.server.clone();
    let running = tokio::spawn(async move { serving.wait_for_end().await });
    let script = "until [ -e go ]; do sleep 0.02; done";
    let started = start(&client, sh(script)).await;
    drop(started);
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert!(!running.is_finished());
    create(&sandbox, "go");
    tokio::time::timeout(LONG, running).await.unwrap().unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_processes_that_have_ended() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let round = async || {
        let mut attached: Vec<Attached> = Vec::new();
        for _ in 0..20 {
            attached.push(start(&client, ProcessSpec::new("sleep").arg("1234851").stdin()).await);
        }
        for process in &attached {
            signal(&client, process.pid, "KILL").await.unwrap();
        }
        for process in attached {
            process.finish().await;
        }
    };
    round().await;
    let before = descriptors();
    for _ in 0..5 {
        round().await;
    }
    // Other tests of this program open some, too.
    wait_for("few descriptors", async || descriptors() < before + 60).await;
    let refused = refusal(attach(&client, 0).await.map(|_| ()));
    assert_eq!(refused.code, RefusalCode::NotFound);
}
