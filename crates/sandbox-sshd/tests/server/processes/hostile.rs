//! Clients that violate the protocol, or that ask for very much.

use bytes::BytesMut;
use russh::ChannelMsg;
use sandbox_core::guest::{
    FrameKind, GuestRequest, MAX_PAYLOAD, ProcessRequest, ProcessSpec, Refusal, RefusalCode,
    put_frame, take_frame,
};
use sandbox_core::protocol::GUEST_SUBSYSTEM;

use super::{PIPE, call, list, open_events, refusal, run, sh, signal, start, wait_for};
use crate::support::client::{Client, LONG, TestSandbox, exec, open};

/// Sends bytes on a channel, and returns all frames that the server sends until it closes the channel.
async fn send(client: &Client, bytes: &[u8]) -> Vec<(FrameKind, Vec<u8>)> {
    let mut channel = open(client, &[]).await;
    channel
        .request_subsystem(true, GUEST_SUBSYSTEM)
        .await
        .unwrap();
    channel.data_bytes(bytes.to_vec()).await.unwrap();
    let mut received = BytesMut::new();
    let receiving = async {
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => received.extend_from_slice(&data),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
    };
    tokio::time::timeout(LONG, receiving)
        .await
        .expect("the channel stays open");
    let mut frames = Vec::new();
    while let Some(frame) = take_frame(&mut received).unwrap() {
        frames.push((frame.kind, frame.payload.to_vec()));
    }
    assert!(received.is_empty());
    frames
}

fn start_request(spec: ProcessSpec) -> Vec<u8> {
    let request = GuestRequest::Process(ProcessRequest::Start(Box::new(spec)));
    frame(FrameKind::Message, &serde_json::to_vec(&request).unwrap())
}

fn frame(kind: FrameKind, payload: &[u8]) -> Vec<u8> {
    let mut encoded = BytesMut::new();
    put_frame(&mut encoded, kind, payload).unwrap();
    encoded.to_vec()
}

#[tokio::test]
async fn garbage_is_refused_before_and_after_the_request() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let request = start_request(sh("sleep 1234831; :").tag("g"));
    let taken_all = u32::MAX.to_be_bytes();
    let bodies = [
        vec![0, 0, 0, 0],
        vec![0xff; 64],
        vec![0, 0, 0, 1, 99],
        frame(FrameKind::Taken, &taken_all),
        frame(FrameKind::Taken, &[0, 0, 0, 1]),
        frame(FrameKind::Taken, &[1]),
        frame(FrameKind::Content, b"x"),
        frame(FrameKind::ContentEnd, b""),
        frame(FrameKind::Refusal, b"{}"),
        frame(FrameKind::Message, b"{"),
        frame(FrameKind::Message, b"{\"process\":{\"start\":{}}}"),
        frame(FrameKind::Message, b"{\"process\":\"fly\"}"),
        frame(FrameKind::Message, b"\"again\"").repeat(40),
    ];
    for body in &bodies {
        let mut frames = send(&client, body).await;
        let (kind, payload) = frames.pop().unwrap();
        assert_eq!((kind, frames.len()), (FrameKind::Refusal, 0), "{body:?}");
        let refusal: Refusal = serde_json::from_slice(&payload).unwrap();
        let codes = [RefusalCode::Invalid, RefusalCode::Unsupported];
        assert!(codes.contains(&refusal.code), "{refusal:?}");

        // The violation detaches the client, and does not affect the process.
        let frames = send(&client, &[&request[..], body].concat()).await;
        let kinds: Vec<_> = frames.iter().map(|(kind, _)| *kind).collect();
        assert_eq!(kinds.last(), Some(&FrameKind::Refusal), "{body:?}");
        assert!(kinds.len() <= 2, "{kinds:?}");
    }
    for process in list(&client).await {
        signal(&client, process.pid, "KILL").await.unwrap();
    }
    wait_for("the end of all", async || list(&client).await.is_empty()).await;
    assert_eq!(exec(&client, "echo hi").await.stdout, b"hi\n");
}

#[tokio::test]
async fn an_honest_count_of_what_was_taken_is_accepted() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    // The client of the other tests counts, too; this one is told a part at a time.
    let events = run(&client, sh("head -c 5000000 /dev/zero")).await;
    assert_eq!(events.stdout.len(), 5_000_000);
}

#[tokio::test]
async fn more_processes_than_fit_are_refused() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    let spec = || ProcessSpec::new("sleep").arg("1234832");
    let mut pids = Vec::new();
    for _ in 0..1024 {
        // Its channel is closed at once.
        pids.push(start(&client, spec()).await.pid);
    }
    for _ in 0..100 {
        let request = ProcessRequest::Start(Box::new(spec()));
        let refused = refusal(open_events(&client, request).await.map(|_| ()));
        assert_eq!(refused.code, RefusalCode::LimitReached);
    }
    let request = ProcessRequest::Signal {
        process: pids[7].into(),
        signal: "KILL".to_owned(),
    };
    call(&client, request).await.unwrap();
    wait_for("a free place", async || list(&client).await.len() == 1023).await;
    assert_eq!(run(&client, sh("echo ok")).await.stdout, b"ok\n");
    exec(&client, "pkill -f 'sleep 123483[2]'").await;
    wait_for("the end of all", async || list(&client).await.is_empty()).await;
}

#[tokio::test]
async fn ten_thousand_starts_leave_the_server_in_order() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(1 << 20).await;
    for round in 0..100 {
        let starts: Vec<_> = (0..100)
            .map(|_| Box::pin(start(&client, ProcessSpec::new("true"))))
            .collect();
        for start in starts {
            let attached = start.await;
            if round % 2 == 0 {
                assert!(attached.finish().await.end.is_some());
            }
        }
    }
    wait_for("the end of all", async || list(&client).await.is_empty()).await;
    assert_eq!(run(&client, sh("echo ok")).await.stdout, b"ok\n");
}

#[tokio::test]
async fn what_is_too_long_is_refused() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(PIPE).await;
    // It fits into a frame, and not into an entry of a list.
    let room = MAX_PAYLOAD - 95;
    let spec = ProcessSpec::new("true").arg("x".repeat(room).as_str());
    let request = ProcessRequest::Start(Box::new(spec));
    let refused = refusal(open_events(&client, request).await.map(|_| ()));
    assert_eq!(refused.code, RefusalCode::LimitReached);
    // It fits into both, and not into an argument.
    let spec = ProcessSpec::new("true").arg("x".repeat(900_000).as_str());
    let events = run(&client, spec).await;
    assert!(events.stderr.contains("too long"), "{events:?}");
}
