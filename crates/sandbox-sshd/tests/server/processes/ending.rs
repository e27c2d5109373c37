//! Timeouts, and processes that resist.

use std::time::{Duration, Instant};

use sandbox_core::guest::{ProcessEnd, RefusalCode};

use super::{PIPE, attach, list, run, sh, start, wait_for};
use crate::support::client::{LONG, TestSandbox};
use crate::support::processes_with;

#[tokio::test]
async fn a_timeout_kills_the_group_whether_a_client_is_attached_or_not() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let timeout = Duration::from_millis(300);
    let script = "trap '' TERM; echo up; sleep 1234861 & sleep 1234861; echo no";
    let begun = Instant::now();
    let first = start(&client, sh(script).timeout(timeout)).await;
    let second = attach(&client, first.pid).await.unwrap();
    let events = first.finish().await;
    assert!(begun.elapsed() >= timeout && begun.elapsed() < LONG / 2);
    assert_eq!(&*events.stdout, b"up\n");
    assert_eq!(events.end, None);
    let refusal = events.refusal.unwrap();
    assert_eq!(refusal.code, RefusalCode::TimedOut);
    assert!(refusal.message.contains("300ms"), "{refusal}");
    let pid = second.pid;
    for attached in [second, attach(&client, pid).await.unwrap()] {
        let code = attached.finish().await.refusal.unwrap().code;
        assert_eq!(code, RefusalCode::TimedOut);
    }
    assert!(processes_with("sleep 1234861").is_empty());

    drop(start(&client, sh("sleep 1234862; :").timeout(timeout)).await);
    wait_for("the kill", async || list(&client).await.is_empty()).await;
    assert!(processes_with("sleep 1234862").is_empty());
    // One that ends in time is not affected.
    let events = run(&client, sh("exit 3").timeout(LONG)).await;
    assert_eq!(events.end, Some(ProcessEnd::Exited(3)));
    let events = run(&client, sh("exit 3").timeout(Duration::MAX)).await;
    assert_eq!(events.end, Some(ProcessEnd::Exited(3)));
}

#[tokio::test]
async fn a_timeout_is_not_deferred_by_a_client_that_does_not_read() {
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_millis(50)));
    let client = sandbox.connect(PIPE).await;
    let begun = Instant::now();
    let spec = sh("cat /dev/zero").timeout(Duration::from_millis(500));
    let slow = start(&client, spec).await;
    wait_for("the end", async || list(&client).await.is_empty()).await;
    // It reads what was sent, and then the reason.
    let events = slow.finish().await;
    assert_eq!(events.refusal.unwrap().code, RefusalCode::TimedOut);
    assert!(begun.elapsed() < Duration::from_secs(25));
}

#[tokio::test]
async fn a_process_that_leaves_its_group_survives_the_timeout_of_the_group() {
    let sandbox = TestSandbox::new(|config| config.with_output_grace(Duration::from_millis(50)));
    let client = sandbox.connect(PIPE).await;
    let script = "setsid sh -c 'until [ -e go ]; do sleep 0.02; done; echo late; touch done' & sleep 1234863";
    // It has to have left its group by then, also on a machine that does much else.
    let spec = sh(script).timeout(Duration::from_secs(10));
    let events = run(&client, spec).await;
    assert_eq!(events.refusal.unwrap().code, RefusalCode::TimedOut);
    std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    let done = sandbox.home.path().join("done");
    wait_for("its end", async || done.exists()).await;
}
