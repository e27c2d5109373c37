//! Files, against every server that has SFTP.

use std::time::Duration;

use sandbox_core::{
    DownloadRequest, Error, ExecRequest, FileKind, FilePath, TransferReason, UploadRequest,
};

use super::sharing::drive_for;
use super::{AnySession, CAP, pattern, sh};

pub(crate) async fn put(session: &AnySession, path: impl Into<FilePath>, data: &[u8]) -> u64 {
    let from = Box::new(std::io::Cursor::new(data.to_vec()));
    session
        .upload(UploadRequest::new(path), from)
        .await
        .unwrap()
}

pub(crate) async fn get(session: &AnySession, path: impl Into<FilePath>) -> Result<Vec<u8>, Error> {
    let (near, mut far) = tokio::io::duplex(64 << 10);
    let mut data = Vec::new();
    let (downloaded, read) = tokio::join!(
        session.download(DownloadRequest::new(path), Box::new(near)),
        tokio::io::AsyncReadExt::read_to_end(&mut far, &mut data)
    );
    read.unwrap();
    let count = downloaded?;
    assert_eq!(count, data.len() as u64);
    Ok(data)
}

pub(crate) fn reason(error: &Error) -> TransferReason {
    match error {
        Error::Transfer(error) => error.reason,
        other => panic!("not a transfer error: {other:?}"),
    }
}

pub(crate) async fn files_are_uploaded_and_downloaded(session: &AnySession) {
    for length in [0, 1, 32 << 10, 3_000_001] {
        let data = pattern(length);
        assert_eq!(put(session, "a file", &data).await, length as u64);
        assert!(get(session, "a file").await.unwrap() == data, "{length}");
    }
    let mut request = UploadRequest::new("a file");
    request.mode = Some(0o4750);
    let hour = Duration::from_secs(3600);
    let modified = std::time::SystemTime::UNIX_EPOCH + hour;
    request.modified = Some(modified);
    session
        .upload(request, Box::new(&b"other"[..]))
        .await
        .unwrap();
    let info = session.stat(&"a file".into(), true).await.unwrap();
    assert_eq!(
        (info.kind, info.size, info.mode),
        (FileKind::File, 5, 0o750)
    );
    assert_eq!(info.modified, Some(modified));
    let names: Vec<_> = session
        .list(&".".into())
        .await
        .unwrap()
        .into_iter()
        .map(|entry| entry.name)
        .collect();
    assert!(
        names.contains(&"a file".into())
            && !names
                .iter()
                .any(|name| name.to_string().contains("sandbox-")),
        "{names:?}"
    );
}

pub(crate) async fn names_may_be_odd(session: &AnySession) {
    let odd = FilePath::from("odd");
    session.create_dir(&odd, true).await.unwrap();
    let names = [
        "-rf".as_bytes(),
        b"it's",
        b"a\nb",
        "ü ✓".as_bytes(),
        b"~",
        b"*",
        b"\"q\" \\",
        b"caf\xe9",
        b"\xff\xfe\n\x1b",
        "\u{fffd}".as_bytes(),
    ];
    for name in names {
        let path = odd.join(name);
        put(session, &path, name).await;
        assert_eq!(get(session, &path).await.unwrap(), name);
    }
    let mut listed: Vec<_> = session.list(&odd).await.unwrap();
    listed.sort_by(|a, b| a.name.cmp(&b.name));
    let mut names = names.map(FilePath::from);
    names.sort();
    assert!(listed.iter().map(|entry| &entry.name).eq(&names));

    // The same for every other operation.
    let (latin1, other) = (odd.join(b"caf\xe9"), odd.join(b"\xf8"));
    session.rename(&latin1, &other).await.unwrap();
    session.symlink(&other, &latin1).await.unwrap();
    assert_eq!(session.read_link(&latin1).await.unwrap(), other);
    session.set_mode(&other, 0o600).await.unwrap();
    assert_eq!(session.stat(&other, true).await.unwrap().mode, 0o600);
    let real = session.canonicalize(&other).await.unwrap();
    assert!(real.as_bytes().ends_with(b"/odd/\xf8"), "{real}");
    assert!(session.sha256(&other, 0..4).await.unwrap().is_some());
    let created = other.join(b"\xe8");
    session.remove_file(&other).await.unwrap();
    session.create_dir(&created, true).await.unwrap();
    session.remove_dir(&created).await.unwrap();

    for name in ["", "a\0b"] {
        let error = session
            .upload(UploadRequest::new(name), Box::new(&b""[..]))
            .await
            .unwrap_err();
        assert_eq!(reason(&error), TransferReason::BadName, "{error}");
        assert_eq!(
            reason(&get(session, name).await.unwrap_err()),
            TransferReason::BadName
        );
    }
}

pub(crate) async fn file_errors_have_reasons(session: &AnySession) {
    assert_eq!(
        reason(&get(session, "missing").await.unwrap_err()),
        TransferReason::NotFound
    );
    let error = session
        .upload(UploadRequest::new("no/such/dir"), Box::new(&b"x"[..]))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::NotFound, "{error}");
    session.create_dir(&"dir".into(), false).await.unwrap();
    assert_eq!(
        reason(&session.create_dir(&"dir".into(), false).await.unwrap_err()),
        TransferReason::AlreadyExists
    );
    get(session, "dir").await.unwrap_err();
    put(session, "large", &pattern(1000)).await;
    let mut request = DownloadRequest::new("large");
    request.max_size = Some(999);
    let error = session
        .download(request, Box::new(tokio::io::sink()))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::TooLarge);

    // Fewer and more bytes than announced; the former file remains.
    for announced in [999, 1001] {
        let mut request = UploadRequest::new("large");
        request.size = Some(announced);
        let error = session
            .upload(request, Box::new(std::io::Cursor::new(vec![0; 1000])))
            .await
            .unwrap_err();
        assert_eq!(reason(&error), TransferReason::SizeChanged);
    }
    assert!(get(session, "large").await.unwrap() == pattern(1000));
    no_temporary_files(session).await;
}

/// Waits for the background task that cleans up after a failed upload.
pub(crate) async fn no_temporary_files(session: &AnySession) {
    for _ in 0..100 {
        let entries = session.list(&".".into()).await.unwrap();
        if !entries
            .iter()
            .any(|entry| entry.name.to_string().contains(".sandbox-"))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a temporary file remains");
}

pub(crate) async fn file_operations_work(session: &AnySession) {
    session.create_dir(&"x/y/z".into(), true).await.unwrap();
    session.create_dir(&"x/y/z".into(), true).await.unwrap();
    put(session, "x/one", b"1").await;
    put(session, "x/two", b"2").await;
    session
        .rename(&"x/one".into(), &"x/two".into())
        .await
        .unwrap();
    assert_eq!(get(session, "x/two").await.unwrap(), b"1");
    session.set_mode(&"x/two".into(), 0o600).await.unwrap();
    assert_eq!(
        session.stat(&"x/two".into(), true).await.unwrap().mode,
        0o600
    );
    session
        .symlink(&"two".into(), &"x/link".into())
        .await
        .unwrap();
    assert_eq!(session.read_link(&"x/link".into()).await.unwrap(), "two");
    assert_eq!(sh(session, "readlink x/link").await, "two\n");
    assert_eq!(
        session.stat(&"x/link".into(), false).await.unwrap().kind,
        FileKind::Symlink
    );
    assert_eq!(
        session.stat(&"x/link".into(), true).await.unwrap().kind,
        FileKind::File
    );
    assert!(
        session
            .canonicalize(&".".into())
            .await
            .unwrap()
            .as_bytes()
            .starts_with(b"/")
    );
    session.remove_file(&"x/link".into()).await.unwrap();
    session.remove_file(&"x/two".into()).await.unwrap();
    session.remove_dir(&"x/y".into()).await.unwrap_err();
    session.remove_dir(&"x/y/z".into()).await.unwrap();
    assert_eq!(
        reason(&session.remove_file(&"x/two".into()).await.unwrap_err()),
        TransferReason::NotFound
    );
}

pub(crate) async fn cancelled_transfers_leave_no_files(session: &AnySession) {
    put(session, "kept", b"kept").await;
    for round in 0..150_u64 {
        let steps = round * round / 10;
        let from = Box::new(std::io::Cursor::new(vec![1; 200_000]));
        match round % 3 {
            0 => drop(drive_for(session.list(&".".into()), steps).await),
            1 => drop(drive_for(get(session, "kept"), steps).await),
            _ => drop(drive_for(session.upload(UploadRequest::new("new"), from), steps).await),
        }
    }
    // A leaked handle would be noticed: there are 64.
    for _ in 0..70 {
        assert!(get(session, "kept").await.unwrap() == b"kept");
    }
    no_temporary_files(session).await;
    // The file is complete or missing.
    match get(session, "new").await {
        Ok(data) => assert!(data == vec![1; 200_000]),
        Err(error) => assert_eq!(reason(&error), TransferReason::NotFound),
    }
}

pub(crate) async fn appended_bytes_follow_the_content(session: &AnySession) {
    let append = async |data: Vec<u8>| {
        session
            .append(&"grows".into(), Box::new(std::io::Cursor::new(data)))
            .await
            .unwrap();
    };
    append(b"one ".to_vec()).await;
    append(Vec::new()).await;
    append(b"two".to_vec()).await;
    assert_eq!(get(session, "grows").await.unwrap(), b"one two");
    // Many pieces arrive in order, and every byte of several writers arrives.
    let long = pattern(1_000_000);
    append(long.clone()).await;
    assert!(get(session, "grows").await.unwrap()[7..] == long);
    let lines = |letter: u8| [letter; 99].into_iter().chain([b'\n']).collect::<Vec<u8>>();
    session.remove_file(&"grows".into()).await.unwrap();
    futures_util::future::join_all((b'a'..=b'j').map(|letter| append(lines(letter)))).await;
    let written = get(session, "grows").await.unwrap();
    let mut found: Vec<_> = written.chunks(100).map(<[u8]>::to_vec).collect();
    found.sort();
    assert_eq!(
        found,
        (b'a'..=b'j').map(lines).collect::<Vec<_>>(),
        "small pieces stay together"
    );
    let error = session
        .append(&"no/such".into(), Box::new(&b"x"[..]))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::NotFound);
}

pub(crate) async fn hashes_are_computed(session: &AnySession) {
    put(session, "-it's hashed", b"abcdef").await;
    let of = async |range| {
        session
            .sha256(&"-it's hashed".into(), range)
            .await
            .unwrap()
            .unwrap()
    };
    // The same as those of sha256sum.
    assert_eq!(of(0..3).await[..4], [0xba, 0x78, 0x16, 0xbf], "abc");
    assert_eq!(of(0..100).await[..4], [0xbe, 0xf5, 0x7e, 0xc7], "abcdef");
    assert_eq!(of(3..6).await[..4], [0xcb, 0x83, 0x79, 0xac], "def");
    session
        .sha256(&"-it's hashed".into(), 3..3)
        .await
        .unwrap_err();
    // An error or `None`, never a hash.
    assert!(!matches!(
        session.sha256(&"missing".into(), 0..1).await,
        Ok(Some(_))
    ));
}

pub(crate) async fn uploads_are_resumed(session: &AnySession) {
    let data = pattern(300_000);
    let mut request = UploadRequest::new("resumed");
    (request.size, request.resume_at) = (Some(300_000), Some(0));
    // A cut-off upload keeps its data in the partial file.
    let from =
        tokio::io::AsyncReadExt::chain(std::io::Cursor::new(data[..200_000].to_vec()), Broken);
    session
        .upload(request.clone(), Box::new(from))
        .await
        .unwrap_err();
    assert_eq!(
        reason(&get(session, "resumed").await.unwrap_err()),
        TransferReason::NotFound
    );
    let partial = request.partial_path();
    let there = get(session, &partial).await.unwrap();
    assert!(
        there == data[..there.len()] && there.len() > 100_000,
        "{}",
        there.len()
    );
    // Data beyond the offset is truncated.
    session
        .append(&partial, Box::new(&b"something else"[..]))
        .await
        .unwrap();
    request.resume_at = Some(100_000);
    let rest = Box::new(std::io::Cursor::new(data[100_000..].to_vec()));
    assert_eq!(
        session.upload(request.clone(), rest).await.unwrap(),
        300_000
    );
    assert!(get(session, "resumed").await.unwrap() == data);
    assert_eq!(
        reason(&get(session, &partial).await.unwrap_err()),
        TransferReason::NotFound
    );
    // The rest of a file that was downloaded in part.
    let mut request = DownloadRequest::new("resumed");
    for (offset, rest) in [(0, 300_000), (299_999, 1), (300_000, 0), (1000, 299_000)] {
        request.offset = offset;
        assert_eq!(
            session
                .download(request.clone(), Box::new(tokio::io::sink()))
                .await
                .unwrap(),
            rest
        );
    }
    request.offset = 300_001;
    let error = session
        .download(request, Box::new(tokio::io::sink()))
        .await
        .unwrap_err();
    assert_eq!(reason(&error), TransferReason::SizeChanged);
}

/// A source that fails.
struct Broken;

impl tokio::io::AsyncRead for Broken {
    fn poll_read(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        _: &mut tokio::io::ReadBuf<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Err(std::io::ErrorKind::BrokenPipe.into()))
    }
}
