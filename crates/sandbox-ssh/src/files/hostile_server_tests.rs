//! Tests against a hostile SFTP server.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use sandbox_core::{
    Access, DownloadRequest, Endpoint, Error, KeyPair, ListBudget, Result, TransferReason, Uid,
    UploadRequest,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt, DuplexStream, ReadBuf, ReadHalf};

use super::{FileOps, download, upload};
use crate::channel::{ChannelPool, Chunks};
use crate::connection::Purpose;
use crate::options::SshOptions;
use crate::pool::{Bounds, Dialer, SlotPool};
use crate::sftp::{Outgoing, Sftp, SftpPool, SftpResult, SftpTimeouts};
use crate::transport::TcpConnector;

// Packet types of draft-ietf-secsh-filexfer-02.
const OPEN: u8 = 3;
const READ: u8 = 5;
const LSTAT: u8 = 7;
const FSTAT: u8 = 8;
const OPENDIR: u8 = 11;
pub(super) const READDIR: u8 = 12;
pub(super) const REALPATH: u8 = 16;
pub(super) const READLINK: u8 = 19;
const STATUS: u8 = 101;
const HANDLE: u8 = 102;
const DATA: u8 = 103;
const NAME: u8 = 104;
const ATTRS: u8 = 105;

/// A reply: its type, and what follows the request's id.
type Reply = (u8, Vec<u8>);

/// Serves the replies of `answer`. Other requests succeed, with the handle `h`, and no path names
/// anything.
async fn serve(mut stream: DuplexStream, mut answer: impl FnMut(u8, u64) -> Option<Reply>) {
    let mut count = 0;
    while let Ok(length) = stream.read_u32().await {
        let mut packet = vec![0; length as usize];
        if stream.read_exact(&mut packet).await.is_err() {
            return;
        }
        let body = match packet[0] {
            1 => vec![2, 0, 0, 0, 3],
            kind => {
                let (reply, rest) = answer(kind, count).unwrap_or_else(|| match kind {
                    OPEN | OPENDIR => (HANDLE, string(b"h")),
                    LSTAT => status(2, ""),
                    _ => status(0, ""),
                });
                [&[reply], &packet[1..5], &rest].concat()
            }
        };
        count += 1;
        let framed = [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], &body].concat();
        if stream.write_all(&framed).await.is_err() {
            return;
        }
    }
}

fn string(bytes: &[u8]) -> Vec<u8> {
    [
        &u32::try_from(bytes.len()).unwrap().to_be_bytes()[..],
        bytes,
    ]
    .concat()
}

pub(super) fn status(code: u32, message: &str) -> Reply {
    (
        STATUS,
        [
            &code.to_be_bytes()[..],
            &string(message.as_bytes()),
            &string(b""),
        ]
        .concat(),
    )
}

/// Attributes of a regular file of this size.
fn file(size: u64) -> Vec<u8> {
    [
        &5_u32.to_be_bytes()[..],
        &size.to_be_bytes(),
        &0o100_644_u32.to_be_bytes(),
    ]
    .concat()
}

pub(super) fn names(names: &[&[u8]]) -> Reply {
    let mut body = u32::try_from(names.len()).unwrap().to_be_bytes().to_vec();
    for name in names {
        body.extend([string(name), string(b""), file(1)].concat());
    }
    (NAME, body)
}

/// The chunks of a stream.
struct ReadChunks(ReadHalf<DuplexStream>);

impl Chunks for ReadChunks {
    fn poll_chunk(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Bytes>>> {
        let mut buffer = [0; 5000];
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.0).poll_read(cx, &mut read))?;
        let chunk = Bytes::copy_from_slice(read.filled());
        Poll::Ready(Ok((!chunk.is_empty()).then_some(chunk)))
    }
}

async fn begin_session(stream: DuplexStream, timeout: Duration) -> SftpResult<Sftp> {
    let (read, write) = tokio::io::split(stream);
    Sftp::begin(ReadChunks(read), Outgoing::from_writer(write), timeout).await
}

pub(super) async fn serve_sessions(
    answer: impl FnMut(u8, u64) -> Option<Reply> + Send + 'static,
) -> SftpPool {
    serve_with_timeout(Duration::from_secs(1), answer).await
}

async fn serve_with_timeout(
    timeout: Duration,
    answer: impl FnMut(u8, u64) -> Option<Reply> + Send + 'static,
) -> SftpPool {
    let (near, far) = tokio::io::duplex(1 << 20);
    tokio::spawn(serve(far, answer));
    let sftp = begin_session(near, timeout).await.unwrap();
    let keys = KeyPair::generate().unwrap();
    let access = Access {
        id: "sbx-test".parse().unwrap(),
        uid: Uid::new("test"),
        user: "nobody".into(),
        host_key: keys.public,
        client_key: keys.private,
        // Nothing listens there.
        endpoint: Endpoint::Tcp(SocketAddr::from((Ipv4Addr::LOCALHOST, 1))),
    };
    let dialer = Dialer::new(
        Arc::new(TcpConnector),
        Arc::new(access),
        &SshOptions::default(),
        Purpose::Files,
    );
    let one = Bounds {
        channels_per_connection: 1,
        connections: 1,
        max_connections: 1,
        handshakes: 1,
    };
    let limits = SftpTimeouts {
        checkout: timeout,
        channel: timeout,
        request: timeout,
    };
    let slots = SlotPool::new(dialer, one, None).unwrap();
    SftpPool::with_session(ChannelPool::new(slots, None), limits, sftp)
}

pub(super) fn reason(error: Error) -> TransferReason {
    match error {
        Error::Transfer(error) => error.reason,
        other => panic!("not a transfer error: {other:?}"),
    }
}

async fn fetch(sessions: &SftpPool, max_size: Option<u64>) -> Result<u64> {
    let mut request = DownloadRequest::new("f");
    request.max_size = max_size;
    download(sessions, request, Box::new(tokio::io::sink())).await
}

#[tokio::test]
async fn a_file_of_another_size_than_announced_is_refused() {
    let serve_file = |size: u64, data: &'static [u8]| {
        serve_sessions(move |kind, _| match kind {
            FSTAT => Some((ATTRS, file(size))),
            READ => Some((DATA, string(data))),
            _ => None,
        })
    };
    // An early end: an empty response is the end of the file.
    assert_eq!(
        reason(fetch(&serve_file(10, b"").await, None).await.unwrap_err()),
        TransferReason::SizeChanged
    );
    // More data than requested.
    fetch(&serve_file(3, b"12345").await, Some(3))
        .await
        .unwrap_err();
    // An absurd size, for which no memory must be reserved.
    assert_eq!(
        reason(
            fetch(&serve_file(u64::MAX, b"x").await, Some(1 << 20))
                .await
                .unwrap_err()
        ),
        TransferReason::TooLarge
    );
    // No size and no end.
    assert_eq!(
        reason(
            fetch(&serve_file(0, b"xxxx").await, Some(1 << 10))
                .await
                .unwrap_err()
        ),
        TransferReason::TooLarge
    );
    assert_eq!(fetch(&serve_file(4, b"1234").await, None).await.unwrap(), 4);
}

#[tokio::test]
async fn a_file_that_grows_is_read_as_long_as_it_was_when_it_was_opened() {
    // As large as one piece, so that the end is not found with the content.
    let mut size = (32 << 10) - 1;
    let sessions = serve_sessions(move |kind, _| match kind {
        FSTAT => {
            size += 1;
            Some((ATTRS, file(size)))
        }
        READ => Some((DATA, string(&[1; 32 << 10]))),
        _ => None,
    })
    .await;
    assert_eq!(fetch(&sessions, None).await.unwrap(), 32 << 10);
    // It has grown between the first two requests.
    let sessions = serve_sessions(|kind, _| match kind {
        FSTAT => Some((ATTRS, file(10))),
        READ => Some((DATA, string(&[1; 15]))),
        _ => None,
    })
    .await;
    assert_eq!(fetch(&sessions, None).await.unwrap(), 15);
}

#[tokio::test]
async fn a_file_that_shrinks_while_it_is_read_is_an_error() {
    let mut size = (32 << 10) + 1;
    let sessions = serve_sessions(move |kind, _| match kind {
        FSTAT => {
            size -= 1;
            Some((ATTRS, file(size)))
        }
        READ => Some((DATA, string(&[1; 32 << 10]))),
        _ => None,
    })
    .await;
    assert_eq!(
        reason(fetch(&sessions, None).await.unwrap_err()),
        TransferReason::SizeChanged
    );
}

#[tokio::test]
async fn an_upload_that_was_not_stored_whole_is_an_error() {
    let sessions = serve_sessions(|kind, _| (kind == FSTAT).then(|| (ATTRS, file(2)))).await;
    let uploaded = upload(&sessions, UploadRequest::new("f"), Box::new(&b"1234"[..])).await;
    let error = uploaded.map(drop).unwrap_err();
    assert_eq!(reason(error), TransferReason::SizeChanged);
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let (near, _far) = tokio::io::duplex(1 << 10);
    let begin = begin_session(near, Duration::from_secs(1));
    assert!(
        tokio::time::timeout(Duration::from_millis(50), begin)
            .await
            .is_err()
    );
    // A server that answers only the first requests.
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sessions = serve_sessions(move |kind, _| {
        if kind == READ {
            stopped.recv_timeout(Duration::from_secs(3)).ok();
        }
        (kind == FSTAT).then(|| (ATTRS, file(100)))
    })
    .await;
    let reading = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(fetch(&sessions, None))
    });
    assert_eq!(
        reason(reading.await.unwrap().unwrap_err()),
        TransferReason::Lost
    );
    drop(stop);
}

/// Answers the version, and then sends responses to no request, slowly and for ever.
async fn trickle(mut stream: DuplexStream, response: Vec<u8>) {
    let mut version = [0; 9];
    stream.read_exact(&mut version).await.unwrap();
    stream
        .write_all(&[0, 0, 0, 5, 2, 0, 0, 0, 3])
        .await
        .unwrap();
    loop {
        for byte in &response {
            tokio::time::sleep(Duration::from_millis(400)).await;
            if stream.write_all(&[*byte]).await.is_err() {
                return;
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_answers_nobody_is_given_up() {
    let response = [&[0, 0, 0, 17, STATUS][..], &900_u32.to_be_bytes()].concat();
    // The head of the response has arrived after 3.6 seconds.
    for (timeout, is_timeout) in [(2, true), (6, false)] {
        let (near, far) = tokio::io::duplex(1 << 10);
        tokio::spawn(trickle(far, response.clone()));
        let timeout = Duration::from_secs(timeout);
        let sftp = begin_session(near, timeout).await.unwrap();
        let request = sftp.call(sftp.wire.close("h"));
        let error = tokio::time::timeout(Duration::from_secs(60), request)
            .await
            .expect("it waits for ever")
            .unwrap_err();
        assert_eq!(
            matches!(error, russh_sftp::client::error::Error::Timeout),
            is_timeout,
            "{error}"
        );
    }
}

#[tokio::test]
async fn messages_are_escaped() {
    let sessions = serve_sessions(|kind, _| {
        (kind == OPEN).then(|| status(4, "\x1b]0;owned\x07 No space left"))
    })
    .await;
    let error = fetch(&sessions, None).await.unwrap_err();
    assert!(!error.to_string().contains('\x1b'), "{error}");
    assert_eq!(reason(error), TransferReason::NoSpace);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(250))]
    /// Whatever the server sends, a call ends with a result.
    #[test]
    fn arbitrary_replies_end_every_call(
        reply in (prop_oneof![3 => 101_u8..106, 1 => any::<u8>()], prop::collection::vec(any::<u8>(), 0..60)),
        at in 0_u64..4,
        operation in 0..4,
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let answer = move |_, count| (count > at).then(|| reply.clone());
            let sessions = serve_with_timeout(Duration::from_millis(20), answer).await;
            let call = async {
                match operation {
                    0 => FileOps(&sessions).list(&"d".into(), &ListBudget::default()).await.map(drop).ok(),
                    1 => fetch(&sessions, Some(1 << 20)).await.map(drop).ok(),
                    2 => upload(&sessions, UploadRequest::new("f"), Box::new(&b"1234"[..])).await.map(drop).ok(),
                    _ => FileOps(&sessions).create_dir(&"a/b".into(), true).await.ok(),
                }
            };
            tokio::time::timeout(Duration::from_secs(20), call).await.expect("the call hangs");
        });
    }
}
