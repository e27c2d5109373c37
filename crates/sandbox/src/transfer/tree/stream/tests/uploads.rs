use std::path::Path;

use sandbox_core::tree_stream::MAX_UNCONFIRMED;

use super::*;
use crate::transfer::progress::Meter;
use crate::transfer::report::TreeReport;
use crate::transfer::tree::stream::upload::upload;
use crate::transfer::tree::stream::{LocalTop, Subject};

/// A tree with a directory, a link and files of these sizes.
fn create_tree(sizes: &[usize]) -> tempfile::TempDir {
    let tree = tempfile::tempdir().unwrap();
    std::fs::create_dir(tree.path().join("d")).unwrap();
    for (number, size) in sizes.iter().enumerate() {
        std::fs::write(tree.path().join(format!("f{number}")), vec![7; *size]).unwrap();
    }
    tree
}

async fn send(channel: TreeChannel, tree: &Path) -> Result<TreeReport> {
    let subject = Subject {
        direction: Direction::Upload,
        remote: "top".into(),
    };
    let meter = Meter::new(None);
    upload(channel, LocalTop::open(tree)?, &subject, &meter).await
}

/// Uploads to a server that sends these frames once it has received the whole tree.
async fn send_to(tree: &Path, replies: &[Frame<'_>]) -> Result<TreeReport> {
    let (channel, mut server) = Server::new();
    let serving = async move {
        loop {
            let (frame, _) = server.receive().await.unwrap();
            if matches!(Frame::parse(&frame), Ok(Frame::End)) {
                break;
            }
        }
        server.send(replies).await;
        server.stream.shutdown().await.ok();
        while server.receive().await.is_some() {}
    };
    tokio::join!(send(channel, tree), serving).0
}

fn taken(bytes: u64, entries: u64) -> Frame<'static> {
    Frame::Taken { bytes, entries }
}

#[tokio::test]
async fn what_the_server_reports_is_counted() {
    let tree = create_tree(&[10, 10]);
    let refused = |reason| Frame::Refused(failure(reason, b"\x1bno"));
    // The top, the files, the directory, its end and that of the top.
    let report = send_to(tree.path(), &[taken(9, 6), Frame::Finished]).await;
    let report = report.unwrap();
    assert_eq!((report.files, report.directories, report.bytes), (2, 2, 20));
    let frames = [
        taken(9, 1),
        refused(TransferReason::PermissionDenied),
        taken(0, 1),
        refused(TransferReason::AlreadyExists),
        Frame::Ignored { entries: 1 },
        taken(0, 1),
        Frame::Finished,
    ];
    let report = send_to(tree.path(), &frames).await.unwrap();
    assert_eq!(
        (report.files, report.directories, report.failures),
        (1, 1, 2)
    );
    assert_eq!(report.failed[0].message, "permission denied");
    assert_eq!(report.failed[1].message, r"\u{1b}no");
    assert_eq!(report.failed[1].path, "d");
}

#[tokio::test]
async fn a_failure_that_concerns_all_ends_the_upload() {
    let tree = create_tree(&[10]);
    for (frames, expected) in [
        // The top cannot be created.
        (
            vec![Frame::Refused(failure(
                TransferReason::PermissionDenied,
                b"",
            ))],
            TransferReason::PermissionDenied,
        ),
        (
            vec![
                taken(1, 1),
                Frame::Refused(failure(TransferReason::NoSpace, b"full")),
            ],
            TransferReason::NoSpace,
        ),
        (
            vec![Frame::GivenUp(failure(TransferReason::Other, b"why"))],
            TransferReason::Other,
        ),
        (vec![], TransferReason::Lost),
        (vec![taken(1, 1)], TransferReason::Lost),
    ] {
        let (found, message) = reason(send_to(tree.path(), &frames).await);
        assert_eq!(found, expected, "{message}");
    }
}

#[tokio::test]
async fn a_server_cannot_confirm_what_was_not_sent() {
    let tree = create_tree(&[10]);
    for frames in [
        vec![taken(1 << 20, 1)],
        vec![taken(u64::MAX, 0)],
        vec![taken(1, 6)],
        vec![taken(1, u64::MAX)],
        vec![Frame::Ignored { entries: 6 }],
        vec![
            taken(1, 5),
            Frame::Refused(failure(TransferReason::Other, b"")),
        ],
        vec![Frame::Finished],
        vec![taken(1, 4), Frame::Finished],
        vec![Frame::Leave],
        vec![file(b"f", b"x")],
    ] {
        let (found, message) = reason(send_to(tree.path(), &frames).await);
        assert_eq!(found, TransferReason::Other, "{frames:?}");
        assert!(
            message.starts_with("invalid stream of a tree: "),
            "{message}"
        );
    }
}

#[tokio::test]
async fn a_server_that_confirms_nothing_gets_a_bounded_amount_and_is_given_up() {
    let tree = create_tree(&[3 << 20, 3 << 20, 3 << 20]);
    let (channel, mut server) = Server::with_timeout(SHORT);
    let serving = async move {
        let mut total = 0;
        while let Some((_, length)) = server.receive().await {
            total += length;
        }
        total
    };
    let (result, total) = tokio::join!(send(channel, tree.path()), serving);
    let (found, message) = reason(result);
    assert_eq!(found, TransferReason::Lost, "{message}");
    assert!(message.contains("300ms"), "{message}");
    assert!(
        (1 << 20..=MAX_UNCONFIRMED + 100).contains(&total),
        "{total}"
    );
}

#[tokio::test]
async fn a_dropped_upload_stops_to_read() {
    let tree = create_tree(&[3 << 20, 3 << 20, 3 << 20]);
    let (channel, mut server) = Server::new();
    let uploading = send(channel, tree.path());
    let limited = async {
        // Something has arrived.
        while server.receive().await.unwrap().1 < 1000 {}
    };
    tokio::select! {
        result = uploading => panic!("{result:?}"),
        () = limited => {}
    }
    while server.receive().await.is_some() {}
}
