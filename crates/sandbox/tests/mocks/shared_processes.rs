//! Shared processes of a server that does not keep to the guest protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use sandbox::prelude::*;
use sandbox::{
    ExitStatus, InputTarget, ProcessEvent, ProcessSpec, RefusalCode, SandboxEventKind, Signal,
};
use sandbox_core::guest::{FrameKind, put_frame, take_frame};
use sandbox_core::{GuestChannel, MockSession};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

use crate::support::{backend, client, event, sessions};

const REFUSAL: &[u8] = br#"{"code":"not_found","message":"there is none"}"#;
const STARTED: &[u8] = br#"{"pid":7}"#;

fn encode(frames: &[(FrameKind, &[u8])]) -> Vec<u8> {
    let mut encoded = BytesMut::new();
    for (kind, payload) in frames {
        put_frame(&mut encoded, *kind, payload).unwrap();
    }
    encoded.to_vec()
}

/// Reads the first frame, which is the request.
async fn read_request(stream: &mut DuplexStream) -> String {
    let mut received = BytesMut::new();
    loop {
        if let Some(frame) = take_frame(&mut received).unwrap() {
            return String::from_utf8(frame.payload.to_vec()).unwrap();
        }
        assert!(stream.read_buf(&mut received).await.unwrap() > 0);
    }
}

/// A sandbox whose server answers every request with these bytes, and closes the channel then.
async fn sandbox_that_answers(answer: Vec<u8>) -> Sandbox {
    let mut session = MockSession::new();
    session.expect_open_guest().returning(move || {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let answer = answer.clone();
        tokio::spawn(async move {
            read_request(&mut far).await;
            far.write_all(&answer).await.ok();
        });
        Ok(GuestChannel::new(near, Duration::from_secs(20)))
    });
    let mut backend = backend(0, vec![event(SandboxEventKind::Started, "")]);
    backend
        .expect_diagnose()
        .returning(|_| Ok(Default::default()));
    let client = client(backend, sessions(session));
    client.sandbox().create().await.unwrap()
}

async fn events(sbx: &Sandbox) -> Vec<Result<ProcessEvent>> {
    let mut attached = sbx.processes().attach(7).await.unwrap();
    assert_eq!(attached.pid(), 7);
    let mut events = Vec::new();
    while let Some(event) = attached.next().await {
        events.push(event);
    }
    assert!(attached.next().await.is_none());
    events
}

#[tokio::test]
async fn events_end_with_the_first_end() {
    let answer = encode(&[
        (FrameKind::Message, STARTED),
        (FrameKind::Content, b"out"),
        (FrameKind::Stderr, b"err"),
        (FrameKind::Terminal, b"tty"),
        (FrameKind::Message, br#"{"killed":"TERM"}"#),
        (FrameKind::Content, b"more"),
    ]);
    let sbx = sandbox_that_answers(answer).await;
    let events: Vec<_> = events(&sbx).await.into_iter().map(Result::unwrap).collect();
    let expected = [
        ProcessEvent::Stdout("out".into()),
        ProcessEvent::Stderr("err".into()),
        ProcessEvent::Terminal("tty".into()),
        ProcessEvent::Ended(ExitStatus::Signal(Signal::Term)),
    ];
    assert_eq!(events, expected);
    let status = sbx.processes().attach("tag").await.unwrap().wait().await;
    assert_eq!(status.unwrap(), ExitStatus::Signal(Signal::Term));
}

#[tokio::test]
async fn what_violates_the_protocol_is_a_lost_connection() {
    let bad: [&[(FrameKind, &[u8])]; 6] = [
        &[],
        &[(FrameKind::ContentEnd, b"")],
        &[(FrameKind::Taken, b"1234")],
        &[(FrameKind::Message, b"{")],
        &[(FrameKind::Message, br#"{"killed":"no signal"}"#)],
        &[(FrameKind::Message, br#"{"eaten":1}"#)],
    ];
    for frames in bad {
        let answer = [encode(&[(FrameKind::Message, STARTED)]), encode(frames)].concat();
        let sbx = sandbox_that_answers(answer).await;
        let mut events = events(&sbx).await;
        let last = events.pop().unwrap();
        assert!(matches!(last, Err(Error::Connection(_))), "{last:?}");
        assert!(events.is_empty());
    }
    for answer in [vec![], encode(&[(FrameKind::Content, STARTED)])] {
        let sbx = sandbox_that_answers(answer).await;
        let started = sbx.processes().start(ProcessSpec::new("true")).await;
        assert!(matches!(started, Err(Error::Connection(_))), "{started:?}");
    }
}

#[tokio::test]
async fn refusals_are_typed() {
    let sbx = sandbox_that_answers(encode(&[(FrameKind::Refusal, REFUSAL)])).await;
    let processes = sbx.processes();
    let refused = [
        processes.attach(7).await.map(drop),
        processes.list().await.map(drop),
        processes.write_input(7, InputTarget::Stdin, b"x").await,
        processes.close_input(7).await,
        processes.signal("tag", Signal::Term).await,
    ];
    for result in refused {
        let error = result.unwrap_err();
        assert!(
            matches!(&error, Error::Refused(refusal) if refusal.code == RefusalCode::NotFound),
            "{error:?}"
        );
        assert_eq!(error.to_string(), "there is none");
    }
}

#[tokio::test]
async fn a_list_without_an_end_is_cut_off() {
    let mut session = MockSession::new();
    let sent = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&sent);
    session.expect_open_guest().returning(move || {
        let (near, mut far) = tokio::io::duplex(64 << 10);
        let sent = Arc::clone(&counted);
        tokio::spawn(async move {
            read_request(&mut far).await;
            let entry = encode(&[(FrameKind::Message, br#"{"pid":1,"spec":{"argv":["x"]}}"#)]);
            while far.write_all(&entry).await.is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        });
        Ok(GuestChannel::new(near, Duration::from_secs(20)))
    });
    let mut backend = backend(0, vec![event(SandboxEventKind::Started, "")]);
    backend
        .expect_diagnose()
        .returning(|_| Ok(Default::default()));
    let sbx = client(backend, sessions(session))
        .sandbox()
        .create()
        .await
        .unwrap();
    let error = sbx.processes().list().await.unwrap_err();
    assert!(error.to_string().contains("too long"), "{error}");
    assert!(sent.load(Ordering::Relaxed) < 20_000);
}
