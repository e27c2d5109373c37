//! Flow control: bulk data, and peers that do not read.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use russh::ChannelMsg;

use super::PIPE;
use crate::support::client::{LONG, TestSandbox, collect, collect_half, exec, open};
use crate::support::noise;

/// Bytes of unread input that the server buffers before it slows its client down.
const FULL_SPEED_BACKLOG: usize = 128 << 20;

/// Two russh peers that only write deadlock without the server's write-behind buffer.
#[tokio::test]
async fn bulk_both_ways_at_once_does_not_deadlock() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let data = noise(24 << 20, 3);
    let echo = |seed: usize| {
        let (client, data) = (&client, &data);
        async move {
            let channel = open(client, &[]).await;
            channel.exec(true, "exec 'cat'").await.unwrap();
            let (mut reader, writer) = channel.split();
            let sending = async {
                for part in data.chunks(60_000 + seed) {
                    writer.data_bytes(part.to_vec()).await.unwrap();
                }
                writer.eof().await.unwrap();
            };
            let receiving = async {
                let mut at = 0;
                while let Some(message) = reader.wait().await {
                    if let ChannelMsg::Data { data: part } = message {
                        assert!(data[at..at + part.len()] == part, "wrong bytes after {at}");
                        at += part.len();
                    }
                }
                assert_eq!(at, data.len());
            };
            tokio::join!(sending, receiving);
        }
    };
    let all = async { tokio::join!(echo(1), echo(2), echo(3), echo(4)) };
    tokio::time::timeout(LONG, all).await.expect("deadlock");
}

/// The command gets more input than the server buffers at full speed. Its client is slowed down, and
/// all else on the connection continues.
#[tokio::test]
async fn a_command_that_reads_nothing_blocks_no_other_and_loses_no_input() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let data = noise(150 << 20, 9);
    let slow = open(&client, &[]).await;
    slow.exec(
        true,
        "while [ ! -e go ]; do sleep 0.05; done; exec cat > all",
    )
    .await
    .unwrap();
    let (reader, writer) = slow.split();
    let sent = AtomicUsize::new(0);
    let sending = async {
        for part in data.chunks(32_000) {
            writer.data_bytes(part.to_vec()).await.unwrap();
            sent.fetch_add(part.len(), Ordering::Relaxed);
        }
        writer.eof().await.unwrap();
    };
    let others = async {
        wait_until_slow(&sent).await;
        let begun = Instant::now();
        let quick = exec(&client, "exec 'echo' 'quick'").await;
        assert_eq!(quick.stdout, b"quick\n");
        // Input of other channels arrives, too, more than the first window.
        let other = open(&client, &[]).await;
        other.exec(true, "exec wc -c").await.unwrap();
        other.data_bytes(vec![7; 3 << 20]).await.unwrap();
        other.eof().await.unwrap();
        assert_eq!(collect(other).await.stdout, b"3145728\n");
        client.send_ping().await.unwrap();
        assert!(begun.elapsed() < Duration::from_secs(10), "others wait");
        assert!(sent.load(Ordering::Relaxed) < data.len(), "never slow");
        std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    };
    let all = async { tokio::join!(sending, others) };
    tokio::time::timeout(LONG, all)
        .await
        .expect("the rest is not accepted once the command reads");
    assert_eq!(collect_half(reader).await.code, Some(0));
    assert!(std::fs::read(sandbox.home.path().join("all")).unwrap() == data);
}

/// Waits until the sender has filled what a server buffers at full speed.
async fn wait_until_slow(sent: &AtomicUsize) {
    while sent.load(Ordering::Relaxed) < FULL_SPEED_BACKLOG {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// The client's window messages and its parts of key exchanges arrive behind more input than the
/// server buffers at full speed.
#[tokio::test]
async fn an_echo_after_a_pause_does_not_deadlock() {
    let sandbox = TestSandbox::new(|config| config);
    let limits = russh::Limits::new(20 << 20, 20 << 20, Duration::from_secs(3600));
    let client = sandbox
        .connect_as(
            russh::client::Config {
                limits,
                ..Default::default()
            },
            PIPE,
        )
        .await;
    let data = noise(150 << 20, 11);
    let channel = open(&client, &[]).await;
    channel
        .exec(true, "while [ ! -e go ]; do sleep 0.02; done; exec cat")
        .await
        .unwrap();
    let (mut reader, writer) = channel.split();
    let sent = AtomicUsize::new(0);
    let sending = async {
        for part in data.chunks(60_000) {
            writer.data_bytes(part.to_vec()).await.unwrap();
            sent.fetch_add(part.len(), Ordering::Relaxed);
        }
        writer.eof().await.unwrap();
    };
    let starting = async {
        wait_until_slow(&sent).await;
        std::fs::write(sandbox.home.path().join("go"), "").unwrap();
        sent.load(Ordering::Relaxed)
    };
    let receiving = async {
        let mut at = 0;
        while let Some(message) = reader.wait().await {
            if let ChannelMsg::Data { data: part } = message {
                assert!(data[at..at + part.len()] == part, "wrong bytes after {at}");
                at += part.len();
            }
        }
        at
    };
    let all = async { tokio::join!(sending, starting, receiving) };
    let ((), buffered, received) = tokio::time::timeout(LONG, all).await.expect("deadlock");
    assert_eq!(received, data.len());
    assert!(buffered < data.len(), "the sender was never slow");
}

#[tokio::test]
async fn a_client_that_reads_nothing_slows_the_command_down() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let unread = open(&client, &[]).await;
    // Without backpressure the command would end at once, with its output in memory.
    unread
        .exec(true, "yes | head -c 300000000; touch done")
        .await
        .unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(!sandbox.home.path().join("done").exists());
    drop(unread);
}
