use std::path::Path;

use sandbox_core::tree_stream::UNKNOWN_SIZE;

use super::*;
use crate::transfer::limits::TreeLimits;
use crate::transfer::progress::Meter;
use crate::transfer::report::TreeReport;
use crate::transfer::tree::stream::download::download;

const COUNTED: Frame<'_> = Frame::Counted {
    entries: 3,
    bytes: 3,
    is_complete: true,
};

fn few() -> TreeLimits {
    let mut limits = TreeLimits::default();
    (limits.entries, limits.bytes, limits.depth) = (10, 1000, 3);
    limits
}

/// Downloads what a server sends, and then ends.
async fn receive(to: &Path, frames: &[Frame<'_>]) -> Result<TreeReport> {
    let (channel, mut server) = Server::new();
    let meter = Meter::new(None);
    let downloading = download(channel, few(), to, "top".into(), &meter);
    let serving = async move {
        server.send(frames).await;
        server.stream.shutdown().await.ok();
        // The client closes the channel.
        while server.receive().await.is_some() {}
    };
    tokio::join!(downloading, serving).0
}

/// Downloads what a server sends into a tree that exists.
async fn receive_tree(to: &Path, entries: &[Frame<'_>]) -> Result<TreeReport> {
    let head = [COUNTED, directory(b"")];
    receive(to, &[&head[..], entries].concat()).await
}

fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_is_sent_is_written_once_it_is_complete() {
    let directory_here = tempfile::tempdir().unwrap();
    let to = directory_here.path().join("to");
    let large = Frame::File {
        name: b"large",
        attributes: Attributes::default(),
        size: 300,
        is_whole: false,
        content: &[1; 100],
    };
    let entries = [
        file(b"a", b"first"),
        // The same name again replaces it.
        file(b"a", b"second"),
        large.clone(),
        Frame::Content(&[2; 200]),
        Frame::FileEnd,
        large,
        Frame::FileAborted(failure(TransferReason::SizeChanged, b"\x1b[2Jshrunk")),
        Frame::Skipped { name: b"fifo" },
        Frame::Failed {
            name: b"closed",
            failure: failure(TransferReason::PermissionDenied, b""),
        },
        Frame::Leave,
        Frame::End,
    ];
    let report = receive_tree(&to, &entries).await.unwrap();
    assert_eq!((report.files, report.bytes, report.failures), (3, 311, 2));
    assert_eq!(report.skipped[0].path, "fifo");
    assert_eq!(report.failed[0].message, r"\u{1b}[2Jshrunk");
    assert_eq!(report.failed[1].path, "closed");
    assert_eq!(std::fs::read(to.join("a")).unwrap(), b"second");
    let large = std::fs::read(to.join("large")).unwrap();
    assert_eq!(large, [vec![1; 100], vec![2; 200]].concat());
    assert_eq!(names(&to), ["a", "large"]);
}

#[tokio::test]
async fn nothing_is_written_if_the_count_exceeds_the_limits() {
    let directory = tempfile::tempdir().unwrap();
    let to = directory.path().join("to");
    let count = |entries, bytes, is_complete| Frame::Counted {
        entries,
        bytes,
        is_complete,
    };
    for (frames, expected) in [
        (vec![count(11, 0, true)], TransferReason::TooLarge),
        (vec![count(11, 0, false)], TransferReason::TooLarge),
        (vec![count(1, 1001, true)], TransferReason::TooLarge),
        (vec![count(2, 0, false); 2], TransferReason::Other),
        (vec![Frame::End], TransferReason::Other),
        (
            vec![Frame::GivenUp(failure(TransferReason::NotFound, b"x"))],
            TransferReason::NotFound,
        ),
        (
            vec![Frame::GivenUp(failure(TransferReason::Lost, b"x"))],
            TransferReason::Other,
        ),
        (vec![], TransferReason::Lost),
    ] {
        assert_eq!(
            reason(receive(&to, &frames).await).0,
            expected,
            "{frames:?}"
        );
        assert!(!to.exists());
    }
}

#[tokio::test]
async fn more_than_was_counted_is_refused() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("to");
    let many: Vec<_> = (0..11).map(|_| file(b"f", b"x")).collect();
    let skipped: Vec<_> = (0..11).map(|_| Frame::Skipped { name: b"s" }).collect();
    let unlisted: Vec<_> = (0..12)
        .map(|_| Frame::Failed {
            name: b"",
            failure: failure(TransferReason::Other, b""),
        })
        .collect();
    let deep = vec![directory(b"d"); 4];
    let announced = |size, content| Frame::File {
        name: b"f",
        attributes: Attributes::default(),
        size,
        is_whole: false,
        content,
    };
    let content = Frame::Content(&[0; 600]);
    for entries in [
        many,
        skipped,
        unlisted,
        deep,
        vec![announced(1001, &[])],
        vec![announced(8 << 40, &[])],
        vec![
            announced(UNKNOWN_SIZE, &[]),
            content.clone(),
            content.clone(),
        ],
        vec![
            announced(600, &[]),
            content.clone(),
            Frame::FileEnd,
            announced(600, &[]),
        ],
    ] {
        let (found, _) = reason(receive_tree(&to, &entries).await);
        assert_eq!(found, TransferReason::TooLarge, "{entries:?}");
    }
    let left: Vec<_> = names(&to)
        .into_iter()
        .filter(|name| name.starts_with('.'))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}

#[tokio::test]
async fn a_violation_of_the_protocol_ends_the_download() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("to");
    let short = Frame::File {
        name: b"f",
        attributes: Attributes::default(),
        size: 5,
        is_whole: false,
        content: b"123",
    };
    for entries in [
        vec![directory(b"..")],
        vec![directory(b"a/b")],
        vec![file(b"../outside", b"x")],
        vec![file(b"/tmp/x", b"x")],
        vec![file(b"", b"x")],
        vec![Frame::Link {
            name: b"..",
            target: b"x",
        }],
        vec![directory(b"")],
        vec![short.clone(), Frame::FileEnd],
        vec![short.clone(), Frame::Content(b"4567")],
        vec![short.clone(), file(b"g", b"x")],
        vec![Frame::Leave, Frame::Leave],
        vec![Frame::End],
        vec![Frame::Leave, Frame::End, file(b"late", b"x")],
        vec![Frame::Finished],
        vec![COUNTED],
    ] {
        let (found, message) = reason(receive_tree(&to, &entries).await);
        assert_eq!(found, TransferReason::Other, "{entries:?}");
        assert!(
            message.starts_with("invalid stream of a tree: "),
            "{message}"
        );
    }
    assert_eq!(names(here.path()), ["to"]);
    assert!(names(&to).is_empty());
}

#[tokio::test]
async fn a_tree_that_ends_early_leaves_no_incomplete_file() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("to");
    let begun = Frame::File {
        name: b"f",
        attributes: Attributes::default(),
        size: 5,
        is_whole: false,
        content: b"123",
    };
    let (found, _) = reason(receive_tree(&to, &[file(b"a", b"x"), begun]).await);
    assert_eq!(found, TransferReason::Lost);
    assert_eq!(names(&to), ["a"]);
}

#[tokio::test]
async fn links_lead_nowhere_else() {
    let here = tempfile::tempdir().unwrap();
    let to = here.path().join("to");
    let link = |name, target| Frame::Link { name, target };
    let entries = [
        link(&b"out"[..], &b"/etc"[..]),
        link(b"up", b"../x"),
        link(b"near", b"d"),
        // Nothing is written through a link, neither a new one nor one that is there.
        directory(b"near"),
        file(b"f", b"x"),
        Frame::Leave,
        directory(b"d"),
        link(b"deep", b"../near/f"),
        file(b"deep", b"replaced"),
        Frame::Leave,
        Frame::Leave,
        Frame::End,
    ];
    let report = receive_tree(&to, &entries).await.unwrap();
    assert_eq!((report.symlinks, report.skipped.len()), (2, 2));
    assert_eq!(report.failed[0].path, "near");
    assert_eq!((report.failures, report.files), (1, 1));
    assert_eq!(names(&to), ["d", "near"]);
    assert_eq!(names(&to.join("d")), ["deep"]);
    assert_eq!(std::fs::read(to.join("d/deep")).unwrap(), b"replaced");
}

#[tokio::test]
async fn a_silent_server_is_given_up() {
    let here = tempfile::tempdir().unwrap();
    for frames in [&[][..], &[COUNTED, directory(b"")]] {
        let (channel, mut server) = Server::with_timeout(SHORT);
        let meter = Meter::new(None);
        let downloading = download(channel, few(), here.path(), "top".into(), &meter);
        server.send(frames).await;
        let (found, message) = reason(downloading.await);
        assert_eq!(found, TransferReason::Lost);
        assert!(message.contains("300ms"), "{message}");
    }
}
