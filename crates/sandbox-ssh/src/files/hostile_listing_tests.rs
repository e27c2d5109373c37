//! Tests of listings against a hostile SFTP server.

use sandbox_core::{FileInfo, FilePath, ListBudget, Result, TransferReason};

use super::FileOps;
use super::hostile_server_tests::{
    READDIR, READLINK, REALPATH, names, reason, serve_sessions, status,
};
use crate::sftp::SftpPool;

async fn list(sessions: &SftpPool) -> Result<Vec<FileInfo>> {
    FileOps(sessions)
        .list(&"d".into(), &ListBudget::default())
        .await
}

#[tokio::test]
async fn dangerous_names_are_refused() {
    for bad in [
        &b""[..],
        b"../../etc/passwd",
        b"/etc/passwd",
        b"a/b",
        b"a\0b",
        b"\xff/",
    ] {
        let name = bad.to_vec();
        let sessions = serve_sessions(move |kind, _| {
            (kind == READDIR).then(|| names(&[b"good", b".", b"..", &name]))
        })
        .await;
        assert_eq!(
            reason(list(&sessions).await.unwrap_err()),
            TransferReason::BadName,
            "{bad:?}"
        );
    }
    let sessions = serve_sessions(|kind, _| (kind == REALPATH).then(|| names(&[b"/a\0"]))).await;
    assert_eq!(
        reason(
            FileOps(&sessions)
                .canonicalize(&".".into())
                .await
                .unwrap_err()
        ),
        TransferReason::BadName
    );
}

#[tokio::test]
async fn names_that_are_not_utf8_are_kept() {
    const NAME: &[u8] = b"caf\xe9";
    let sessions = serve_sessions(|kind, count| match kind {
        READDIR if count < 3 => Some(names(&[NAME])),
        READDIR => Some(status(1, "")),
        REALPATH | READLINK => Some(names(&[NAME])),
        _ => None,
    })
    .await;
    let ops = FileOps(&sessions);
    let path = FilePath::from(NAME);
    assert_eq!(
        ops.list(&path, &ListBudget::default()).await.unwrap()[0].name,
        path
    );
    assert_eq!(ops.canonicalize(&path).await.unwrap(), path);
    assert_eq!(ops.read_link(&path).await.unwrap(), path);
}

#[tokio::test]
async fn an_endless_listing_ends() {
    let many: Vec<Vec<u8>> = (0..4000)
        .map(|n: u32| format!("entry-{n:025}").into_bytes())
        .collect();
    let sessions = serve_sessions(move |kind, _| {
        (kind == READDIR).then(|| names(&many.iter().map(Vec::as_slice).collect::<Vec<_>>()))
    })
    .await;
    assert_eq!(
        reason(list(&sessions).await.unwrap_err()),
        TransferReason::TooLarge
    );
}

#[tokio::test]
async fn an_empty_listing_without_end_ends() {
    let sessions = serve_sessions(|kind, _| (kind == READDIR).then(|| names(&[]))).await;
    list(&sessions).await.unwrap_err();
}

#[tokio::test]
async fn listings_share_a_budget() {
    let mut is_end = true;
    let sessions = serve_sessions(move |kind, _| {
        (kind == READDIR).then(|| {
            is_end = !is_end;
            if is_end {
                status(1, "")
            } else {
                names(&[b"a", b".", b"..", b"b"])
            }
        })
    })
    .await;
    let budget = ListBudget::new(3, 100);
    let ops = FileOps(&sessions);
    assert_eq!(ops.list(&"d".into(), &budget).await.unwrap().len(), 2);
    let refused = ops.list(&"d".into(), &budget).await.unwrap_err();
    assert_eq!(reason(refused), TransferReason::TooLarge);
    // `.` and `..` do not count, but a listing has each of them once.
    let sessions = serve_sessions(|kind, _| (kind == READDIR).then(|| names(&[b"."]))).await;
    list(&sessions).await.unwrap_err();
}
