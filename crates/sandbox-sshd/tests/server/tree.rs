//! The subsystem for directory trees, with clients that violate its protocol.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use russh::ChannelMsg;
use sandbox_core::TransferReason;
use sandbox_core::protocol::TREE_SUBSYSTEM;
use sandbox_core::tree_stream::{Attributes, Frame, VERSION, take_frame};

use crate::support::client::{Client, LONG, TestSandbox, open};

/// What a server has sent.
#[derive(Debug)]
struct Replies {
    frames: Vec<Vec<u8>>,
    code: Option<u32>,
}

impl Replies {
    fn parsed(&self) -> impl Iterator<Item = Frame<'_>> {
        self.frames.iter().map(|frame| Frame::parse(frame).unwrap())
    }

    /// The entries that were written.
    fn written(&self) -> u64 {
        self.parsed()
            .map(|frame| match frame {
                Frame::Taken { entries, .. } => entries,
                _ => 0,
            })
            .sum()
    }

    fn refused(&self) -> Vec<TransferReason> {
        let refused = self.parsed().filter_map(|frame| match frame {
            Frame::Refused(failure) => Some(failure.reason),
            _ => None,
        });
        refused.collect()
    }

    fn given_up(&self) -> Option<TransferReason> {
        self.parsed().find_map(|frame| match frame {
            Frame::GivenUp(failure) => Some(failure.reason),
            _ => None,
        })
    }
}

/// Sends bytes and the end of the input, and receives everything.
async fn run(client: &Client, bytes: Vec<u8>) -> Replies {
    let running = async {
        let mut channel = open(client, &[]).await;
        channel
            .request_subsystem(true, TREE_SUBSYSTEM)
            .await
            .unwrap();
        channel.data_bytes(bytes).await.unwrap();
        channel.eof().await.unwrap();
        let mut received = BytesMut::new();
        let mut code = None;
        while let Some(message) = channel.wait().await {
            match message {
                ChannelMsg::Data { data } => received.extend_from_slice(&data),
                ChannelMsg::ExitStatus { exit_status } => code = Some(exit_status),
                ChannelMsg::Close => break,
                _ => {}
            }
        }
        let mut frames = Vec::new();
        while let Some(frame) = take_frame(&mut received).unwrap() {
            frames.push(frame.to_vec());
        }
        assert!(received.is_empty());
        Replies { frames, code }
    };
    tokio::time::timeout(LONG, running).await.unwrap()
}

fn encode(frames: &[Frame<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for frame in frames {
        frame.encode(&mut bytes);
    }
    bytes
}

fn receive_at(path: &[u8]) -> Frame<'_> {
    Frame::Receive {
        version: VERSION,
        path,
    }
}

fn send_from(path: &[u8], entries: u64, bytes: u64, depth: u64) -> Vec<u8> {
    encode(&[Frame::Send {
        version: VERSION,
        entries,
        bytes,
        depth,
        path,
    }])
}

fn directory(name: &[u8]) -> Frame<'_> {
    let attributes = Attributes {
        mode: Some(0o755),
        modified: None,
    };
    Frame::Directory { name, attributes }
}

fn file<'a>(name: &'a [u8], size: u64, content: &'a [u8]) -> Frame<'a> {
    Frame::File {
        name,
        attributes: Attributes {
            mode: Some(0o4640),
            modified: Some(SystemTime::UNIX_EPOCH + Duration::new(1_000_000, 7)),
        },
        size,
        is_whole: content.len() as u64 == size,
        content,
    }
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
async fn entries_are_written_and_confirmed_in_order() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(64 << 10).await;
    let home = sandbox.home.path();
    std::fs::create_dir_all(home.join("a/top/there/in-the-way")).unwrap();
    std::fs::write(home.join("a/top/taken"), "x").unwrap();
    let link = |name, target| Frame::Link { name, target };
    let replies = run(
        &client,
        encode(&[
            receive_at(b"a/top"),
            directory(b""),
            file(b"small", 5, b"small"),
            link(&b"taken"[..], &b"small"[..]),
            directory(b"small"), // A file has this name.
            file(b"ignored", 1, b"x"),
            directory(b"ignored"),
            Frame::Leave,
            Frame::Leave,
            directory(b"there"),
            file(b"in-the-way", 1, b"x"),
            file(b"large", 200_000, &[1; 100_000]),
            Frame::Content(&[2; 100_000]),
            Frame::FileEnd,
            Frame::Leave,
            Frame::Leave,
            Frame::End,
        ]),
    )
    .await;
    assert_eq!(replies.code, Some(0));
    assert_eq!(replies.written(), 7, "{replies:?}");
    let refused = [TransferReason::AlreadyExists, TransferReason::Other];
    assert_eq!(replies.refused(), refused);
    assert_eq!(replies.parsed().last(), Some(Frame::Finished));
    let ignored = Frame::Ignored { entries: 4 };
    assert!(
        replies.parsed().any(|frame| frame == ignored),
        "{replies:?}"
    );

    let top = home.join("a/top");
    assert_eq!(names(&top), ["small", "taken", "there"]);
    assert_eq!(names(&top.join("there")), ["in-the-way", "large"]);
    assert_eq!(top.join("taken").read_link().unwrap(), Path::new("small"));
    let metadata = top.join("small").metadata().unwrap();
    assert_eq!(metadata.permissions().mode() & 0o7777, 0o640);
    let modified = metadata.modified().unwrap();
    let since = modified.duration_since(SystemTime::UNIX_EPOCH).unwrap();
    assert_eq!(since, Duration::new(1_000_000, 7));
}

#[tokio::test]
async fn a_violation_of_the_protocol_ends_the_channel() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(64 << 10).await;
    let home = sandbox.home.path();
    let head = || encode(&[receive_at(b"top"), directory(b"")]);
    let with = |frames: &[Frame<'_>]| [head(), encode(frames)].concat();
    let other_version = Frame::Receive {
        version: VERSION + 1,
        path: b"top",
    };
    for bytes in [
        vec![0; 4],
        vec![0xff; 100],
        vec![0, 0, 0, 1, 99],
        encode(&[other_version, directory(b""), Frame::Leave, Frame::End]),
        encode(&[directory(b"")]),
        encode(&[Frame::Receive {
            version: VERSION,
            path: b"top\0",
        }]),
        encode(&[receive_at(b"top"), directory(b"d")]),
        with(&[directory(b"..")]),
        with(&[directory(b"")]),
        with(&[file(b"../x", 1, b"x")]),
        with(&[file(b"/tmp/x", 1, b"x")]),
        with(&[file(b"f", 2, b"xx"), Frame::Content(b"x")]),
        with(&[file(b"f", 3, b"xx"), Frame::Content(b"xx")]),
        with(&[file(b"f", 3, b"xx"), Frame::FileEnd]),
        with(&[file(b"f", 3, b"xx"), Frame::Leave]),
        with(&[Frame::Leave, Frame::Leave]),
        with(&[Frame::End]),
        with(&[Frame::Finished]),
        with(&[receive_at(b"other")]),
    ] {
        let replies = run(&client, bytes.clone()).await;
        assert_eq!(replies.code, Some(1), "{}", bytes.escape_ascii());
        assert_eq!(
            replies.given_up(),
            Some(TransferReason::Other),
            "{replies:?}"
        );
    }
    // A client that ends early, also within a frame, gives no reason either.
    let begun = with(&[file(b"begun", 3, b"xx")]);
    for length in [head().len(), begun.len() - 1, begun.len()] {
        let replies = run(&client, begun[..length].to_vec()).await;
        assert_eq!(replies.code, Some(1));
    }
    assert_eq!(names(home), ["top"]);
    assert_eq!(names(&home.join("top")), ["f"], "no incomplete file");
}

#[tokio::test]
async fn a_closed_channel_leaves_no_incomplete_file() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(64 << 10).await;
    let top = sandbox.home.path().join("top");
    let channel = open(&client, &[]).await;
    channel
        .request_subsystem(true, TREE_SUBSYSTEM)
        .await
        .unwrap();
    let begun = encode(&[
        receive_at(b"top"),
        directory(b""),
        file(b"f", 300, &[1; 100]),
    ]);
    channel.data_bytes(begun).await.unwrap();
    let wait_until = async |expected: usize| {
        let waiting = async {
            while std::fs::read_dir(&top).map_or(0, Iterator::count) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(LONG, waiting).await.unwrap();
    };
    wait_until(1).await;
    assert!(names(&top)[0].starts_with(".f.sandbox-"));
    channel.close().await.unwrap();
    wait_until(0).await;
}

#[tokio::test]
async fn a_tree_is_counted_and_sent() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(64 << 10).await;
    let home = sandbox.home.path();
    std::fs::create_dir_all(home.join("top/d")).unwrap();
    std::fs::write(home.join("top/d/f"), vec![7; 300_000]).unwrap();
    symlink("../x", home.join("top/l")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(home.join("top/socket")).unwrap();

    let replies = run(&client, send_from(b"top", 4, 300_000, 1)).await;
    assert_eq!(replies.code, Some(0));
    let frames: Vec<_> = replies.parsed().collect();
    let counted = Frame::Counted {
        entries: 4,
        bytes: 300_000,
        is_complete: true,
    };
    assert_eq!(frames[0], counted);
    assert!(matches!(frames[1], Frame::Directory { name: b"", .. }));
    let link = Frame::Link {
        name: b"l",
        target: b"../x",
    };
    assert!(frames.contains(&link) && frames.contains(&Frame::Skipped { name: b"socket" }));
    let content: usize = frames
        .iter()
        .map(|frame| match frame {
            Frame::File { content, .. } | Frame::Content(content) => content.len(),
            _ => 0,
        })
        .sum();
    assert_eq!(content, 300_000);
    assert!(frames.ends_with(&[Frame::FileEnd, Frame::Leave, Frame::Leave, Frame::End]));

    // Nothing of a tree beyond the limits is sent, or of what is no directory.
    for (path, limits, expected) in [
        (&b"top"[..], (3, 300_000, 1), TransferReason::TooLarge),
        (b"top", (4, 299_999, 1), TransferReason::TooLarge),
        (b"top", (4, 300_000, 0), TransferReason::TooLarge),
        (b"missing", (9, 9, 9), TransferReason::NotFound),
        (b"top/d/f", (9, 9, 9), TransferReason::NotFound),
    ] {
        let replies = run(&client, send_from(path, limits.0, limits.1, limits.2)).await;
        assert_eq!(replies.frames.len(), 1, "{replies:?}");
        assert_eq!(replies.given_up(), Some(expected));
    }
}

#[tokio::test]
async fn generated_files_are_sent_with_their_content() {
    let sandbox = TestSandbox::new(|config| config);
    let client = sandbox.connect(64 << 10).await;
    let top = b"/proc/sys/kernel/random";
    let sent = |replies: &Replies| {
        replies.parsed().find_map(|frame| match frame {
            Frame::File {
                name: b"boot_id",
                size,
                content,
                ..
            } => Some((size, content.len())),
            _ => None,
        })
    };
    let replies = run(&client, send_from(top, 100, 10_000, 1)).await;
    assert_eq!(sent(&replies), Some((37, 37)));
    // Their size is not counted, but limited.
    let replies = run(&client, send_from(top, 100, 10, 1)).await;
    assert_eq!((sent(&replies), replies.code), (None, Some(0)));
    let too_large = replies.parsed().any(|frame| {
        matches!(frame, Frame::Failed { name: b"boot_id", failure }
            if failure.reason == TransferReason::TooLarge)
    });
    assert!(too_large, "{replies:?}");
}
