//! Flow control: bulk data, and peers that do not read.

use std::time::Duration;

use russh::ChannelMsg;

use crate::PIPE;
use crate::support::client::{LONG, TestSandbox, collect, exec, open};
use crate::support::noise;

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

#[tokio::test]
async fn a_command_that_reads_nothing_blocks_no_other_and_loses_no_input() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let data = noise(40 << 20, 9);
    let slow = open(&client, &[]).await;
    slow.exec(
        true,
        "while [ ! -e go ]; do sleep 0.05; done; exec cat > all",
    )
    .await
    .unwrap();
    let all = async {
        for part in data.chunks(32_000) {
            slow.data_bytes(part.to_vec()).await.unwrap();
        }
        slow.eof().await.unwrap();
    };
    tokio::time::timeout(LONG, all)
        .await
        .expect("the server does not accept input that the command does not read");
    // The backlog now exceeds its memory, and other channels are still served.
    assert_eq!(
        exec(&client, "exec 'echo' 'quick'").await.stdout,
        b"quick\n"
    );
    std::fs::write(sandbox.home.path().join("go"), "").unwrap();
    assert_eq!(collect(slow).await.code, Some(0));
    assert!(std::fs::read(sandbox.home.path().join("all")).unwrap() == data);
}

/// The client's window messages and its parts of key exchanges arrive behind more input than the
/// server buffers. While output waits for such a message, the server must continue to read.
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
    let sent = std::sync::atomic::AtomicUsize::new(0);
    let sending = async {
        for part in data.chunks(60_000) {
            writer.data_bytes(part.to_vec()).await.unwrap();
            sent.fetch_add(part.len(), std::sync::atomic::Ordering::Relaxed);
        }
        writer.eof().await.unwrap();
    };
    let starting = async {
        // Wait until the sender is blocked.
        let mut before = 1;
        while before != sent.load(std::sync::atomic::Ordering::Relaxed) || before == 0 {
            before = sent.load(std::sync::atomic::Ordering::Relaxed);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        std::fs::write(sandbox.home.path().join("go"), "").unwrap();
        before
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
    assert!(buffered < data.len(), "the sender was never blocked");
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
