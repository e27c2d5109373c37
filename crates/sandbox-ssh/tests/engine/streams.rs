//! Streams to ports inside: their ends and how many there may be.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sandbox_core::{ByteStream, ConnectionStage, Session};
use sandbox_ssh::{SshOptions, SshSessions};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{self, InProcessSshd, stage};

const LONG: Duration = Duration::from_secs(60);

/// A stream, and the side of the program inside.
async fn connect(session: &Arc<dyn Session>) -> (Box<dyn ByteStream>, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let opening = session.open_stream("127.0.0.1", port);
    let (stream, accepted) = tokio::join!(opening, listener.accept());
    (stream.unwrap(), accepted.unwrap().0)
}

/// Writes until that fails.
async fn write_until_refused(stream: &mut (impl AsyncWriteExt + Unpin)) -> std::io::ErrorKind {
    let writing = async {
        loop {
            match stream.write_all(b"is anybody there?").await {
                Ok(()) => tokio::time::sleep(Duration::from_millis(5)).await,
                Err(error) => return error.kind(),
            }
        }
    };
    tokio::time::timeout(LONG, writing)
        .await
        .expect("writes are accepted for ever")
}

#[tokio::test]
async fn each_direction_ends_on_its_own() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let (mut stream, mut inside) = connect(&session).await;
    inside.write_all(b"greeting").await.unwrap();
    inside.shutdown().await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "greeting");
    stream.write_all(b"still read").await.unwrap();
    stream.shutdown().await.unwrap();
    text.clear();
    inside.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "still read");
}

#[tokio::test]
async fn a_writer_learns_that_the_other_side_has_gone() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let (mut stream, mut inside) = connect(&session).await;
    inside.write_all(b"bye").await.unwrap();
    drop(inside);
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert_eq!(text, "bye");
    assert_eq!(
        write_until_refused(&mut stream).await,
        std::io::ErrorKind::BrokenPipe
    );

    let (stream, mut inside) = connect(&session).await;
    drop(stream);
    write_until_refused(&mut inside).await;
}

#[tokio::test]
async fn a_reset_is_an_error_and_not_an_end() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let (mut stream, inside) = connect(&session).await;
    inside.set_zero_linger().unwrap();
    drop(inside);
    let error = stream.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);

    // Without an end, what was written may be incomplete.
    let (mut stream, mut inside) = connect(&session).await;
    stream.write_all(b"part").await.unwrap();
    inside.read_exact(&mut [0; 4]).await.unwrap();
    drop(stream);
    let error = inside.read(&mut [0; 8]).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn many_streams_are_open_at_once_and_an_unread_one_blocks_no_other() {
    let sshd = InProcessSshd::new();
    let session = sshd.session().await;
    let (_unread, mut flooding) = connect(&session).await;
    let flood =
        tokio::spawn(async move { while flooding.write_all(&[0; 65_536]).await.is_ok() {} });
    let mut held = Vec::new();
    for _ in 0..150 {
        let (mut stream, mut inside) = tokio::time::timeout(LONG, connect(&session)).await.unwrap();
        stream.write_all(b"hi").await.unwrap();
        inside.read_exact(&mut [0; 2]).await.unwrap();
        held.push((stream, inside));
    }
    flood.abort();
}

#[tokio::test]
async fn a_stream_above_the_limit_is_refused_at_once() {
    let sshd = InProcessSshd::new();
    let mut options = SshOptions::default();
    options.max_streams = 2;
    let sessions = SshSessions::new(Arc::clone(&sshd.connector) as _, options);
    let session = support::session(&sessions, &sshd.access).await;
    let (first, _inside) = connect(&session).await;
    let _second = connect(&session).await;
    let begun = Instant::now();
    let Err(error) = session.open_stream("127.0.0.1", 1).await else {
        panic!("a third stream was opened")
    };
    assert!(begun.elapsed() < Duration::from_secs(5));
    assert_eq!(stage(&error), ConnectionStage::Channel);
    assert!(error.to_string().contains("2 streams are open"), "{error}");
    drop(first);
    // The slot is free once the first one is closed.
    let again = async {
        loop {
            match session.open_stream("127.0.0.1", 1).await {
                Err(error) if error.to_string().contains("streams are open") => {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                other => return other.map(drop),
            }
        }
    };
    let closed_port = tokio::time::timeout(LONG, again)
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        closed_port.to_string().contains("nothing answers"),
        "{closed_port}"
    );
}
