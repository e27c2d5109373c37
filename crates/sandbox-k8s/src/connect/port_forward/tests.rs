//! A port-forward whose other side is a test.

use super::*;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::Role;

type Socket = WebSocketStream<DuplexStream>;

async fn sockets() -> (Socket, Socket) {
    let (near, far) = tokio::io::duplex(64 << 10);
    (
        Socket::from_raw_socket(near, Role::Client, None).await,
        Socket::from_raw_socket(far, Role::Server, None).await,
    )
}

async fn say(far: &mut (impl Sink<Message, Error = WsError> + Unpin), frame: &[u8]) {
    far.send(Message::Binary(Bytes::copy_from_slice(frame)))
        .await
        .unwrap();
}

async fn open() -> (Forward, Socket) {
    let (near, mut far) = sockets().await;
    for frame in [&[DATA, 0xae, 0x08][..], &[ERROR, 0xae, 0x08], b"\0SSH-"] {
        say(&mut far, frame).await;
    }
    (begin(near).await.ok().unwrap(), far)
}

#[tokio::test]
async fn bytes_go_both_ways_and_an_end_is_told() {
    let (mut near, mut far) = open().await;
    near.write_all(b"hello").await.unwrap();
    let Some(Ok(Message::Binary(frame))) = far.next().await else {
        panic!()
    };
    assert_eq!(&frame[..], b"\0hello");
    say(&mut far, b"\x002.0").await;
    say(&mut far, &[DATA]).await;
    far.close(None).await.unwrap();
    let mut text = String::new();
    near.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "SSH-2.0");
}

#[tokio::test]
async fn what_is_cut_is_an_error_and_no_short_end() {
    for last in [None, Some(&b"\x01the container is gone"[..])] {
        let (mut near, mut far) = open().await;
        say(&mut far, b"\0half of ").await;
        if let Some(last) = last {
            say(&mut far, last).await;
        }
        drop(far);
        let mut text = Vec::new();
        let error = near.read_to_end(&mut text).await.unwrap_err();
        assert_eq!(
            (text.as_slice(), error.kind()),
            (&b"SSH-half of "[..], io::ErrorKind::ConnectionReset)
        );
    }
}

#[tokio::test]
async fn nobody_listens_and_nonsense_are_told() {
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
        let (near, mut far) = sockets().await;
        for frame in frames {
            say(&mut far, frame).await;
        }
        match begin(near).await {
            Err(AttemptError::Transient(error)) => {
                assert!(error.to_string().contains(said), "{error}")
            }
            _ => panic!("{said}"),
        }
    }
    let (near, mut far) = sockets().await;
    say(&mut far, b"\0\xae\x08").await;
    drop(far);
    assert!(matches!(begin(near).await, Err(AttemptError::Transient(_))));
}

#[tokio::test]
async fn credentials_that_cannot_be_had_end_it_for_good_and_are_not_shown() {
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
    match super::open(&ApiClient::new(client, "boxes".into()), "sbx-a", 22).await {
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
async fn what_nobody_reads_does_not_stop_what_is_written() {
    let (mut near, far) = open().await;
    let (mut sink, mut frames) = far.split();
    let piece = [vec![DATA], vec![7; 32 << 10]].concat();
    // All windows of a connection: more than any one buffer but ours. Nobody reads it.
    let unread = tokio::spawn(async move {
        for _ in 0..(10 << 20) / (32 << 10) {
            say(&mut sink, &piece).await;
        }
        sink
    });
    let taken = tokio::spawn(async move {
        let mut bytes = 0;
        while bytes < 8 << 20 {
            let Some(Ok(Message::Binary(frame))) = frames.next().await else {
                panic!()
            };
            bytes += frame.len() - 1;
        }
        (bytes, frames)
    });
    near.write_all(&vec![1; 8 << 20]).await.unwrap();
    assert_eq!(taken.await.unwrap().0, 8 << 20);
    drop(unread.await.unwrap());
}
