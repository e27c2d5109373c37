//! Uploads to what exists already, against every server that has SFTP.

use std::time::{Duration, SystemTime};

use sandbox_core::{TargetPolicy, TransferReason, UploadRequest};

use super::files::{get, no_temporary_files, put, reason};
use super::{AnySession, sh};

pub(crate) async fn an_existing_file_keeps_its_mode(session: &AnySession) {
    sh(
        session,
        "echo old > run; chmod 755 run; echo old > private; chmod 600 private; \
         echo old > set; chmod 6775 set; echo old > other; ln other hard",
    )
    .await;
    for (name, mode) in [("run", 0o755), ("private", 0o600), ("set", 0o775)] {
        put(session, name, b"new").await;
        let info = session.stat(&name.into(), true).await.unwrap();
        assert_eq!((info.size, info.mode), (3, mode), "{name}: {:o}", info.mode);
    }
    put(session, "absent", b"new").await;
    assert_eq!(
        session.stat(&"absent".into(), true).await.unwrap().mode,
        0o644
    );
    // A mode that comes with the file replaces the former one.
    let mut request = UploadRequest::new("private");
    request.mode = Some(0o640);
    session
        .upload(request, Box::new(&b"newer"[..]))
        .await
        .unwrap();
    assert_eq!(
        session.stat(&"private".into(), true).await.unwrap().mode,
        0o640
    );
    // The other hard link keeps the former content.
    put(session, "other", b"new").await;
    assert_eq!(get(session, "hard").await.unwrap(), b"old\n");
}

pub(crate) async fn an_existing_file_keeps_its_owner(session: &AnySession) {
    let script = "touch f; [ $(id -u) = 0 ] && chown 1:2 f || echo no";
    if sh(session, script).await == "no\n" {
        return;
    }
    put(session, "f", b"new").await;
    assert_eq!(sh(session, "stat -c '%u %g %s' f").await, "1 2 3\n");
}

pub(crate) async fn a_link_is_written_through(session: &AnySession) {
    sh(
        session,
        "mkdir -p links/there; cd links; echo old > there/file; chmod 700 there/file; \
         ln -s there/file near; ln -s ../near there/far; ln -s \"$PWD/there/file\" absolute; \
         ln -s there/missing dangling; ln -s loop loop; ln -s there directory",
    )
    .await;
    for (link, content) in [
        ("near", b"1"),
        ("there/far", b"2"),
        ("absolute", b"3"),
        ("directory/file", b"4"),
    ] {
        put(session, &format!("links/{link}"), content).await;
        let file = get(session, "links/there/file").await.unwrap();
        assert_eq!(file, content, "{link}");
    }
    assert_eq!(
        session
            .stat(&"links/there/file".into(), true)
            .await
            .unwrap()
            .mode,
        0o700
    );
    put(session, "links/dangling", b"made").await;
    assert_eq!(get(session, "links/there/missing").await.unwrap(), b"made");
    let kinds = sh(
        session,
        "cd links; stat -c %F near there/far absolute dangling",
    )
    .await;
    assert_eq!(kinds, "symbolic link\n".repeat(4));

    let upload = |name: &str, target| {
        let mut request = UploadRequest::new(format!("links/{name}"));
        request.target = target;
        session.upload(request, Box::new(&b"x"[..]))
    };
    upload("loop", TargetPolicy::Follow).await.unwrap_err();
    upload("directory", TargetPolicy::Follow).await.unwrap_err();
    assert_eq!(sh(session, "readlink links/directory").await, "there\n");
    // The files of a tree replace links.
    upload("near", TargetPolicy::Replace).await.unwrap();
    assert_eq!(get(session, "links/near").await.unwrap(), b"x");
    assert_eq!(get(session, "links/there/file").await.unwrap(), b"4");
    assert_eq!(
        sh(session, "ls -A links | grep -c sandbox- || true").await,
        "0\n"
    );
    no_temporary_files(session).await;
}

pub(crate) async fn a_device_or_fifo_gets_the_bytes(session: &AnySession) {
    sh(session, "mkfifo fifo; ln -s fifo to-fifo").await;
    let large = super::pattern(300_000);
    for (name, content) in [("fifo", &b"small"[..]), ("to-fifo", &large)] {
        let reading = sh(session, "timeout 20 cat fifo | wc -c");
        let (count, written) = tokio::join!(reading, put(session, name, content));
        assert_eq!(written, content.len() as u64);
        assert_eq!(count.trim(), content.len().to_string());
    }
    put(session, "/dev/null", b"nothing").await;
    assert_eq!(
        sh(session, "stat -c %F /dev/null fifo to-fifo").await,
        "character special file\nfifo\nsymbolic link\n"
    );
    let upload = |name: &str, target| {
        let mut request = UploadRequest::new(name);
        request.target = target;
        session.upload(request, Box::new(&b"x"[..]))
    };
    let full = upload("/dev/full", TargetPolicy::Follow).await.unwrap_err();
    assert_eq!(reason(&full), TransferReason::NoSpace);
    // A tree does not replace it.
    let refused = upload("fifo", TargetPolicy::Replace).await.unwrap_err();
    assert_eq!(reason(&refused), TransferReason::AlreadyExists);
    no_temporary_files(session).await;
}

pub(crate) async fn attributes_are_set(session: &AnySession) {
    session
        .create_dir(&"attributes".into(), false)
        .await
        .unwrap();
    let modified = SystemTime::UNIX_EPOCH + Duration::from_secs(981_173_106);
    session
        .set_attributes(&"attributes".into(), Some(0o2750), Some(modified))
        .await
        .unwrap();
    let info = session.stat(&"attributes".into(), true).await.unwrap();
    assert_eq!((info.mode, info.modified), (0o2750, Some(modified)));
    session
        .set_attributes(&"attributes".into(), None, Some(SystemTime::UNIX_EPOCH))
        .await
        .unwrap();
    let info = session.stat(&"attributes".into(), true).await.unwrap();
    assert_eq!(
        (info.mode, info.modified),
        (0o2750, Some(SystemTime::UNIX_EPOCH))
    );
}
