//! A port-forward whose other side is a test.

use super::*;
use bytes::Bytes;
use futures_util::{Sink, SinkExt, StreamExt};
use sandbox_core::Error;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

const DATA: u8 = 0;
const ERROR: u8 = 1;

type Socket = WebSocketStream<DuplexStream>;

async fn sockets() -> (Socket, Socket) {
    let (local, remote) = tokio::io::duplex(64 << 10);
    (
        Socket::from_raw_socket(local, Role::Client, None).await,
        Socket::from_raw_socket(remote, Role::Server, None).await,
    )
}

async fn send_frame(remote: &mut (impl Sink<Message, Error = WsError> + Unpin), frame: &[u8]) {
    remote
        .send(Message::Binary(Bytes::copy_from_slice(frame)))
        .await
        .unwrap();
}

async fn start(socket: Socket) -> Result<PortForward, AttemptError> {
    let (receiver, sender) = websocket::split(socket);
    super::start(receiver, sender).await
}

async fn open() -> (PortForward, Socket) {
    let (local, mut remote) = sockets().await;
    for frame in [&[DATA, 0xae, 0x08][..], &[ERROR, 0xae, 0x08], b"\0SSH-"] {
        send_frame(&mut remote, frame).await;
    }
    (start(local).await.ok().unwrap(), remote)
}

#[tokio::test]
async fn bytes_go_both_ways_and_an_end_is_passed_on() {
    let (mut local, mut remote) = open().await;
    local.write_all(b"hello").await.unwrap();
    let Some(Ok(Message::Binary(frame))) = remote.next().await else {
        panic!()
    };
    assert_eq!(&frame[..], b"\0hello");
    send_frame(&mut remote, b"\x002.0").await;
    send_frame(&mut remote, &[DATA]).await;
    remote.close(None).await.unwrap();
    let mut text = String::new();
    local.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "SSH-2.0");
}

#[tokio::test]
async fn a_cut_stream_is_an_error_and_no_end_of_file() {
    for last in [None, Some(&b"\x01the container is gone"[..])] {
        let (mut local, mut remote) = open().await;
        send_frame(&mut remote, b"\0half of ").await;
        if let Some(last) = last {
            send_frame(&mut remote, last).await;
        }
        drop(remote);
        let mut text = Vec::new();
        let error = local.read_to_end(&mut text).await.unwrap_err();
        assert_eq!(
            (text.as_slice(), error.kind()),
            (&b"SSH-half of "[..], io::ErrorKind::ConnectionReset)
        );
    }
}

#[tokio::test]
async fn a_closed_port_and_invalid_frames_are_reported() {
    for (frames, said) in [
        (
            &[
                &b"\0\xae\x08"[..],
                b"\x01\xae\x08",
                b"\x01connection refused",
            ][..],
            "connection refused",
        ),
        (&[b"\x07x"], "channel 7"),
    ] {
        let (local, mut remote) = sockets().await;
        for frame in frames {
            send_frame(&mut remote, frame).await;
        }
        match start(local).await {
            Err(AttemptError::Transient(error)) => {
                assert!(error.to_string().contains(said), "{error}")
            }
            _ => panic!("{said}"),
        }
    }
    let (local, mut remote) = sockets().await;
    send_frame(&mut remote, b"\0\xae\x08").await;
    drop(remote);
    assert!(matches!(
        start(local).await,
        Err(AttemptError::Transient(_))
    ));
}

#[tokio::test]
async fn missing_credentials_are_final_and_not_shown() {
    use std::os::unix::process::ExitStatusExt;
    let refuse = |_: http::Request<kube::client::Body>| async {
        let status = std::process::ExitStatus::from_raw(1 << 8);
        let (stdout, stderr) = (b"secret".to_vec(), b"secret".to_vec());
        let out = Box::new(std::process::Output {
            status,
            stdout,
            stderr,
        });
        let error = kube::client::AuthError::AuthExecRun {
            cmd: "secret".into(),
            out,
        };
        Err::<http::Response<kube::client::Body>, tower::BoxError>(error.into())
    };
    let client = kube::Client::new(tower::service_fn(refuse), "boxes");
    let api = ApiClient::new(client, "boxes".into());
    match super::open(&api, &ProtocolChoice::default(), "sbx-a", 22).await {
        Err(AttemptError::Fatal(error @ Error::Config { .. })) => {
            assert!(
                error.to_string().contains("failed with exit status: 1"),
                "{error}"
            );
            assert!(!format!("{error:?}").contains("secret"), "{error:?}");
        }
        Err(AttemptError::Fatal(error) | AttemptError::Transient(error)) => panic!("{error:?}"),
        Ok(_) => panic!("it was opened"),
    }
}

#[tokio::test]
async fn unread_bytes_do_not_block_writes() {
    let (mut local, remote) = open().await;
    let (mut sink, mut frames) = remote.split();
    let piece = [vec![DATA], vec![7; 32 << 10]].concat();
    // All windows of a connection: larger than every buffer except that of the port-forward. It is never read.
    let unread = tokio::spawn(async move {
        for _ in 0..(10 << 20) / (32 << 10) {
            send_frame(&mut sink, &piece).await;
        }
        sink
    });
    let reader = tokio::spawn(async move {
        let mut bytes = 0;
        while bytes < 8 << 20 {
            let Some(Ok(Message::Binary(frame))) = frames.next().await else {
                panic!()
            };
            bytes += frame.len() - 1;
        }
        (bytes, frames)
    });
    local.write_all(&vec![1; 8 << 20]).await.unwrap();
    assert_eq!(reader.await.unwrap().0, 8 << 20);
    drop(unread.await.unwrap());
}
