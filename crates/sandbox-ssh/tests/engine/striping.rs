//! Large files over connections with a long round trip.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sandbox_core::{DownloadRequest, Session, TransferReason, UploadRequest};
use sandbox_ssh::{SshOptions, SshSessions};
use sandbox_testkit::faults::{Direction, FaultPlan, FaultyConnector, StreamFault};
use tokio::io::AsyncReadExt;

use crate::support::contract::{no_temporary_files, pattern, reason};
use crate::support::delayed_server::DelayedConnector;
use crate::support::{self, InProcessSshd};

/// Enough for four connections.
const LARGE: usize = 64 << 20;

#[tokio::test(flavor = "multi_thread")]
async fn a_large_file_uses_several_connections_and_arrives_whole() {
    let sshd = InProcessSshd::new();
    let sessions = SshSessions::new(
        Arc::new(DelayedConnector(Arc::clone(&sshd.connector) as _)),
        SshOptions::default(),
    );
    let session = support::session(&sessions, &sshd.access).await;
    let connections = || sshd.connector.connections.load(Ordering::Relaxed);
    // A small file is not worth a handshake.
    session
        .upload(UploadRequest::new("small"), Box::new(&b"small"[..]))
        .await
        .unwrap();
    assert_eq!(connections(), 2, "one for commands, one for files");
    let data: Arc<[u8]> = pattern(LARGE).into();
    let source = || Box::new(std::io::Cursor::new(Arc::clone(&data)));
    let mut request = UploadRequest::new("large");
    request.size = Some(LARGE as u64);
    assert_eq!(
        session.upload(request.clone(), source()).await.unwrap(),
        LARGE as u64
    );
    assert!(std::fs::read(sshd.home.path().join("large")).unwrap()[..] == data[..]);
    assert!(connections() > 2 && connections() <= 5, "{}", connections());

    let (near, mut far) = tokio::io::duplex(1 << 20);
    let reading = async {
        let mut back = Vec::new();
        far.read_to_end(&mut back).await.unwrap();
        back
    };
    let (read, back) = tokio::join!(
        session.download(DownloadRequest::new("large"), Box::new(near)),
        reading
    );
    assert_eq!(read.unwrap(), LARGE as u64);
    assert!(back[..] == data[..], "in its order");

    // The transfer fails as a whole, and no file remains.
    request.size = Some(LARGE as u64 + 1);
    let error = session.upload(request, source()).await.unwrap_err();
    assert_eq!(reason(&error), TransferReason::SizeChanged);
    no_temporary_files(&session).await;
}

/// The first connections are for commands and the first session for files.
const STRIPES: std::ops::Range<usize> = 1..4;
/// The bytes of a stripe that have passed when it is cut; the key exchange needs far fewer.
const PASSED: [u64; 2] = [300_000, 2 << 20];

/// Sessions with a long round trip, of which one connection is cut.
fn cut(
    sshd: &InProcessSshd,
    stripe: usize,
    passed: u64,
    direction: Direction,
) -> (Arc<FaultyConnector>, SshSessions) {
    let mut plans = vec![FaultPlan::new(); 8];
    plans[stripe] = FaultPlan::new().fail_after(passed, direction, StreamFault::Reset);
    let connector = FaultyConnector::new(
        Arc::new(DelayedConnector(Arc::clone(&sshd.connector) as _)),
        plans,
    );
    (
        Arc::clone(&connector),
        SshSessions::new(connector, SshOptions::default()),
    )
}

async fn download(session: &Arc<dyn Session>, path: &str) -> (sandbox_core::Result<u64>, Vec<u8>) {
    let (near, mut far) = tokio::io::duplex(1 << 20);
    let mut there = Vec::new();
    let reading = async { far.read_to_end(&mut there).await.map(drop).unwrap() };
    let request = DownloadRequest::new(path);
    let (result, ()) = tokio::join!(session.download(request, Box::new(near)), reading);
    (result, there)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_with_a_cut_stripe_is_whole_or_missing() {
    let data: Arc<[u8]> = pattern(LARGE).into();
    for (stripe, passed) in STRIPES.zip(PASSED.into_iter().cycle()) {
        let sshd = InProcessSshd::new();
        let (connector, sessions) = cut(&sshd, stripe, passed, Direction::Write);
        let session = support::session(&sessions, &sshd.access).await;
        std::fs::write(sshd.home.path().join("large"), "former").unwrap();
        let mut request = UploadRequest::new("large");
        request.size = Some(LARGE as u64);
        let result = session
            .upload(request, Box::new(std::io::Cursor::new(Arc::clone(&data))))
            .await;
        assert_eq!(
            connector.switches()[stripe].byte_count(Direction::Write),
            passed,
            "stripe {stripe} was not cut"
        );
        let there = std::fs::read(sshd.home.path().join("large")).unwrap();
        match result {
            Ok(length) => assert!(
                length == LARGE as u64 && there[..] == data[..],
                "stripe {stripe}"
            ),
            Err(error) => {
                assert_eq!(reason(&error), TransferReason::Lost, "{error}");
                assert_eq!(there, b"former", "stripe {stripe}");
            }
        }
        no_temporary_files(&session).await;
        assert_eq!(
            std::fs::read_dir(sshd.home.path()).unwrap().count(),
            1,
            "there is no other file"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_with_a_cut_stripe_is_whole_or_an_error() {
    let data = pattern(LARGE);
    for (stripe, passed) in STRIPES.zip(PASSED.into_iter().cycle()) {
        let sshd = InProcessSshd::new();
        std::fs::write(sshd.home.path().join("large"), &data).unwrap();
        let (connector, sessions) = cut(&sshd, stripe, passed, Direction::Read);
        let session = support::session(&sessions, &sshd.access).await;
        let (result, there) = download(&session, "large").await;
        assert_eq!(
            connector.switches()[stripe].byte_count(Direction::Read),
            passed,
            "stripe {stripe} was not cut"
        );
        match result {
            Ok(length) => assert_eq!(
                (length, there.len()),
                (LARGE as u64, LARGE),
                "stripe {stripe}"
            ),
            Err(error) => assert_eq!(reason(&error), TransferReason::Lost, "{error}"),
        }
        assert!(
            data.starts_with(&there),
            "the received bytes are right and in order"
        );
        // The next transfer gets other connections.
        let (result, there) = download(&session, "large").await;
        assert!(
            result.is_ok() && there == data,
            "stripe {stripe}: {result:?}"
        );
    }
}
