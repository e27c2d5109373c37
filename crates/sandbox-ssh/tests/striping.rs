//! Large files over a long way.

mod support;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use sandbox_core::{
    ByteStream, Connector, Deadline, DownloadRequest, Endpoint, Result, TransferReason, UploadRequest,
};
use sandbox_ssh::{SshOptions, SshSessions};
use support::Ours;
use support::contract::{no_temporary_files, pattern, reason};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

/// One way; twice that for an answer.
const DELAY: Duration = Duration::from_millis(5);
/// Enough for four connections.
const LARGE: usize = 64 << 20;

/// Our server, far away.
#[derive(Debug)]
struct Far(Arc<support::Memory>);

#[async_trait]
impl Connector for Far {
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Box<dyn ByteStream>> {
        let (server_read, server_write) = tokio::io::split(self.0.connect(endpoint, deadline).await?);
        let (near, far) = tokio::io::duplex(256 << 10);
        let (read, write) = tokio::io::split(far);
        tokio::spawn(late(read, server_write));
        tokio::spawn(late(server_read, write));
        Ok(Box::new(near))
    }
}

/// Lets each byte go when it is due.
async fn late(mut from: impl AsyncRead + Unpin, mut to: impl AsyncWrite + Unpin + Send + 'static) {
    let (send, mut due) = mpsc::channel::<(Instant, Vec<u8>)>(4096);
    tokio::spawn(async move {
        while let Some((at, data)) = due.recv().await {
            tokio::time::sleep_until(at).await;
            if to.write_all(&data).await.is_err() {
                return;
            }
        }
        to.shutdown().await.ok();
    });
    let mut buffer = vec![0; 64 << 10];
    while let Ok(read @ 1..) = from.read(&mut buffer).await {
        if send.send((Instant::now() + DELAY, buffer[..read].to_vec())).await.is_err() {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_goes_over_several_connections_and_comes_whole() {
    let ours = Ours::new();
    let sessions = SshSessions::new(Arc::new(Far(Arc::clone(&ours.connector))), SshOptions::default());
    let session = support::session(&sessions, &ours.access).await;
    let connections = || ours.connector.connections.load(Ordering::Relaxed);
    // A small one is not worth a handshake.
    session.upload(UploadRequest::new("small"), Box::new(&b"small"[..])).await.unwrap();
    assert_eq!(connections(), 2, "one for commands, one for files");
    let data: Arc<[u8]> = pattern(LARGE).into();
    let source = || Box::new(std::io::Cursor::new(Arc::clone(&data)));
    let mut request = UploadRequest::new("large");
    request.size = Some(LARGE as u64);
    assert_eq!(session.upload(request.clone(), source()).await.unwrap(), LARGE as u64);
    assert!(std::fs::read(ours.home.path().join("large")).unwrap()[..] == data[..]);
    assert!(connections() > 2 && connections() <= 5, "{}", connections());

    let (near, mut far) = tokio::io::duplex(1 << 20);
    let reading = async {
        let mut back = Vec::new();
        far.read_to_end(&mut back).await.unwrap();
        back
    };
    let (read, back) = tokio::join!(session.download(DownloadRequest::new("large"), Box::new(near)), reading);
    assert_eq!(read.unwrap(), LARGE as u64);
    assert!(back[..] == data[..], "in its order");

    // It fails as a whole, and nothing is left.
    request.size = Some(LARGE as u64 + 1);
    let error = session.upload(request, source()).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::SizeChanged);
    no_temporary_files(&session).await;
}
