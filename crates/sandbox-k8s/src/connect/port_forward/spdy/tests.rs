//! A port-forward over SPDY whose other side is a test.

use super::super::frames::Incoming;
use super::*;
use bytes::BytesMut;
use tokio::io::{AsyncReadExt, DuplexStream};

const DATA_FROM_POD: u8 = 3;
const ERROR_FROM_POD: u8 = 1;

/// A frame of data, with a length of at most 255 bytes.
fn data(stream: u8, flags: u8, bytes: &[u8]) -> Vec<u8> {
    let header = [0, 0, 0, stream, flags, 0, 0, bytes.len() as u8];
    [&header[..], bytes].concat()
}

fn control(kind: u8, payload: &[u8]) -> Vec<u8> {
    let header = [0x80, 3, 0, kind, 0, 0, 0, payload.len() as u8];
    [&header[..], payload].concat()
}

async fn connect() -> (impl Receiver, impl Sender, DuplexStream) {
    let (local, mut remote) = tokio::io::duplex(64 << 10);
    let (receiver, sender) = start(local, 2222).await.unwrap();
    let mut opened = vec![0; open_streams(2222).len()];
    remote.read_exact(&mut opened).await.unwrap();
    (receiver, sender, remote)
}

/// Describes what a server's bytes mean, up to the end.
async fn receive(bytes: &[u8], step: usize) -> Vec<String> {
    let (mut receiver, _sender, mut remote) = connect().await;
    let bytes = bytes.to_vec();
    tokio::spawn(async move {
        for piece in bytes.chunks(step) {
            remote.write_all(piece).await.unwrap();
            tokio::task::yield_now().await;
        }
    });
    let mut all = Vec::new();
    loop {
        match receiver.next().await {
            Incoming::Data(data) => all.push(String::from_utf8(data.to_vec()).unwrap()),
            Incoming::Nothing => {}
            Incoming::Closed => {
                all.push("closed".into());
                return all;
            }
            Incoming::End(why) => {
                all.push(format!("end: {why}"));
                return all;
            }
        }
    }
}

#[test]
fn both_streams_are_opened_as_kubectl_does() {
    let frames = open_streams(2222);
    let header = |name: &str, value: &str| {
        let (name, value) = (name.as_bytes(), value.as_bytes());
        let lengths = [name, value].map(|text| (text.len() as u32).to_be_bytes());
        [&lengths[0][..], name, &lengths[1], value].concat()
    };
    let mut rest = &frames[..];
    for (stream, kind, prefix) in [
        (1, "error", &[0x78, 0x20, 0xe3, 0xc6, 0xa7, 0xc2][..]),
        (3, "data", &[]),
    ] {
        let plain = [
            3u32.to_be_bytes().to_vec(),
            header("port", "2222"),
            header("requestid", "0"),
            header("streamtype", kind),
        ]
        .concat();
        let length = plain.len() as u16;
        let block = [
            prefix,
            &[0],
            &length.to_le_bytes(),
            &(!length).to_le_bytes(),
            &plain,
            &[0, 0, 0, 0xff, 0xff],
        ]
        .concat();
        let fields = [&[0, 0, 0, stream][..], &[0; 4], &[0; 2], &block].concat();
        let mut expected = control(1, &fields);
        if stream == 1 {
            expected.extend(data(1, 1, b""));
        }
        let (frame, after) = rest.split_at(expected.len());
        assert_eq!(frame, expected);
        rest = after;
    }
    assert!(rest.is_empty());
    // Kubernetes' checks of a zlib header, RFC 1950 §2.2.
    assert_eq!(u16::from_be_bytes([0x78, 0x20]) % 31, 0);
}

#[tokio::test]
async fn data_travels_both_ways() {
    let (mut receiver, mut sender, mut remote) = connect().await;
    let mut frame = BytesMut::zeroed(8);
    frame.extend_from_slice(b"hello");
    sender.send(frame).await.unwrap();
    sender.close().await.unwrap();
    let mut sent = vec![0; 8 + 5 + 8];
    remote.read_exact(&mut sent).await.unwrap();
    assert_eq!(sent, [data(3, 0, b"hello"), data(3, 1, b"")].concat());
    remote.write_all(&data(3, 0, b"SSH-")).await.unwrap();
    assert!(matches!(receiver.next().await, Incoming::Data(data) if data == "SSH-"));
}

#[tokio::test]
async fn frames_mean_the_same_however_they_arrive() {
    let replies = [control(2, b"xxxx-reply"), control(2, b"yyyy-reply")].concat();
    let all = [
        replies,
        control(4, &[0, 0, 0, 0]),
        data(DATA_FROM_POD, 0, b"a"),
        control(9, &[0; 8]),
        data(ERROR_FROM_POD, 1, b""),
        data(DATA_FROM_POD, 1, b"b"),
    ]
    .concat();
    for step in [1, 3, all.len()] {
        assert_eq!(receive(&all, step).await, ["a", "b", "closed"], "{step}");
    }
}

#[tokio::test]
async fn errors_and_invalid_frames_end_the_stream() {
    let oversized = [0x80, 3, 0, 2, 0, 1, 0, 1];
    for (frames, end) in [
        (
            data(ERROR_FROM_POD, 1, b"no route to port"),
            "no route to port",
        ),
        (data(ERROR_FROM_POD, 0, b"refused"), "refused"),
        (
            control(3, &[0, 0, 0, 3, 0, 0, 0, 5]),
            "reset stream 3 of the port-forward (status 5)",
        ),
        (control(3, b""), "reset stream 0"),
        (data(5, 0, b"x"), "unknown stream 5"),
        (vec![0x80, 2, 0, 1, 0, 0, 0, 0], "invalid frame (version 2"),
        (oversized.to_vec(), "65537 bytes"),
        // A GOAWAY, and then the end of the connection.
        (control(7, &[0; 8]), "cut the connection"),
        (vec![0x80, 3], "cut the connection"),
        (vec![], "cut the connection"),
    ] {
        let received = receive(&[data(3, 0, b"SSH-"), frames].concat(), 7).await;
        assert_eq!(received.first().map(String::as_str), Some("SSH-"));
        let last = received.last().unwrap();
        assert!(last.starts_with("end: ") && last.contains(end), "{last}");
    }
}

/// containerd closes the data of a port where nothing listens before it says so.
#[tokio::test]
async fn an_error_may_follow_the_end_of_the_data() {
    let end = data(DATA_FROM_POD, 1, b"");
    let error = data(ERROR_FROM_POD, 0, b"connection refused");
    let received = receive(&[end.clone(), error].concat(), 5).await;
    assert_eq!(received, ["end: connection refused"]);
    // There is none: the connection ends, or says nothing more.
    assert_eq!(receive(&end, 5).await, ["closed"]);
    let (mut receiver, _sender, mut remote) = connect().await;
    remote.write_all(&end).await.unwrap();
    tokio::time::pause();
    assert!(matches!(receiver.next().await, Incoming::Closed));
}

#[tokio::test]
async fn a_long_error_is_cut() {
    let error = data(ERROR_FROM_POD, 0, &[b'x'; 255]);
    // All in one frame, whose length has two bytes.
    let whole = [&[0, 0, 0, 1, 1, 0, 0xff, 0xff][..], &[b'y'; 0xffff]].concat();
    let received = receive(&[&error[..1], &error[1..]].concat(), 64).await;
    assert_eq!(received, [format!("end: {}", "x".repeat(255))]);
    let received = receive(&whole, 1000).await;
    assert_eq!(received, [format!("end: {}", "y".repeat(4096))]);
}

#[tokio::test]
async fn the_servers_pings_are_answered_and_a_flood_of_them_is_not_kept() {
    let (mut receiver, mut sender, mut remote) = connect().await;
    for id in [2u8, 4, 5] {
        remote.write_all(&control(6, &[0, 0, 0, id])).await.unwrap();
    }
    remote.write_all(&data(3, 0, b"x")).await.unwrap();
    assert!(matches!(receiver.next().await, Incoming::Data(_)));
    for id in [2u8, 4] {
        let answer = sender.next_answer().await;
        assert_eq!(answer, control(6, &[0, 0, 0, id]));
        sender.answer(answer).await.unwrap();
    }
    let flood = control(6, &[0, 0, 0, 8]).repeat(100);
    remote.write_all(&flood).await.unwrap();
    remote.write_all(&data(3, 0, b"y")).await.unwrap();
    assert!(matches!(receiver.next().await, Incoming::Data(_)));
    let mut answers = 0;
    while tokio::time::timeout(std::time::Duration::from_millis(50), sender.next_answer())
        .await
        .is_ok()
    {
        answers += 1;
    }
    assert_eq!(answers, WAITING_ANSWERS);
}
