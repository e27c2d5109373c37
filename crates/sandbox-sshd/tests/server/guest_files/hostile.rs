//! Clients that violate the protocol, or ask for too much.

use super::*;

#[tokio::test]
async fn what_is_no_request_is_refused() {
    let guest = Guest::new().await;
    for (bytes, code) in [
        (&b"\0\0\0\x03\0{}"[..], RefusalCode::Unsupported),
        (b"\0\0\0\x02\0{", RefusalCode::Unsupported),
        (
            b"\0\0\0\x12\0{\"file\":{\"boil\":1}}",
            RefusalCode::Unsupported,
        ),
        (b"\0\0\0\x01\x02", RefusalCode::Invalid),
        (b"\0\0\0\x01\x63", RefusalCode::Invalid),
        (b"\0\0\0\0", RefusalCode::Invalid),
        (b"\xff\xff\xff\xff\0", RefusalCode::Invalid),
    ] {
        let mut operation = guest.begin_silent().await;
        operation.send_bytes(Bytes::from_static(bytes)).await;
        let refusal = operation.reply::<FileEntry>().await.unwrap_err();
        assert_eq!(refusal.code, code, "{bytes:?}: {refusal}");
        assert_eq!(operation.next().await, None);
    }
}

#[tokio::test]
async fn content_that_is_none_ends_the_writing() {
    let guest = Guest::new().await;
    let mut operation = guest.begin(write_request("f")).await;
    operation.send(FrameKind::Content, b"a").await;
    operation.send(FrameKind::Message, b"{}").await;
    let refusal = operation.reply::<Written>().await.unwrap_err();
    assert_eq!(refusal.code, RefusalCode::Invalid);
    assert_eq!(operation.next().await, None);
}

/// The number of bytes that arrive while no more is taken.
async fn count_arriving(reader: &mut Operation) -> usize {
    let pause = std::time::Duration::from_millis(300);
    let mut arrived = 0;
    while let Ok(frame) = tokio::time::timeout(pause, reader.next()).await {
        arrived += frame.unwrap().payload.len();
    }
    arrived
}

#[tokio::test]
async fn more_than_was_sent_cannot_be_taken() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("f"), vec![0; 3 << 20]).unwrap();
    let mut reader = guest.begin(read_request("f", 0, None)).await;
    let _entry: FileEntry = reader.reply().await.unwrap();
    let taken = u32::MAX.to_be_bytes();
    reader.send(FrameKind::Taken, &taken).await;
    let arrived = count_arriving(&mut reader).await;
    assert!(arrived <= sandbox_core::guest::WINDOW, "{arrived}");
}

#[tokio::test]
async fn paths_and_names_that_the_system_refuses_are_refused() {
    let guest = Guest::new().await;
    let long = "x".repeat(5000);
    let deep = "d/".repeat(100_000);
    for (path, code) in [
        (&*long, RefusalCode::Invalid),
        (&*deep, RefusalCode::Invalid),
        ("a\0b", RefusalCode::Invalid),
        ("~root/x", RefusalCode::Invalid),
    ] {
        let stat = FileRequest::Stat { path: path.into() };
        let refusal = guest.refusal(stat).await;
        assert_eq!(refusal.code, code, "{}", refusal.message);
        let refusal = guest.write(path, b"x").await.unwrap_err();
        assert_eq!(refusal.code, code, "{}", refusal.message);
        let remove = FileRequest::Remove { path: path.into() };
        assert_eq!(guest.code(remove).await, code);
    }
    let bytes = FileRequest::Stat {
        path: b"caf\xe9".into(),
    };
    assert_eq!(guest.code(bytes).await, RefusalCode::NotFound);
}

#[tokio::test]
async fn a_client_that_does_not_read_holds_only_itself_up() {
    let guest = Guest::new().await;
    std::fs::write(guest.path("large"), vec![1; 32 << 20]).unwrap();
    let mut readers = Vec::new();
    for _ in 0..8 {
        readers.push(guest.begin(read_request("large", 0, None)).await);
    }
    guest.write("f", b"x").await.unwrap();
    let (_, content) = guest.read(read_request("f", 0, None)).await;
    assert_eq!(content, b"x");
    // Without `Taken`, no more than the window arrives.
    let mut reader = readers.pop().unwrap();
    let _entry: FileEntry = reader.reply().await.unwrap();
    let arrived = count_arriving(&mut reader).await;
    assert!(arrived <= sandbox_core::guest::WINDOW, "{arrived}");
}
