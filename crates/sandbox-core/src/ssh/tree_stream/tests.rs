use std::time::{Duration, SystemTime};

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::{Direction, TransferReason};

fn encode(frame: &Frame<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    assert_eq!(frame.encode(&mut bytes), bytes.len());
    bytes
}

fn file(size: u64, is_whole: bool, content: &[u8]) -> Frame<'_> {
    Frame::File {
        name: b"f",
        attributes: Attributes::default(),
        size,
        is_whole,
        content,
    }
}

fn directory(name: &[u8]) -> Frame<'_> {
    Frame::Directory {
        name,
        attributes: Attributes::default(),
    }
}

fn failure(message: &[u8]) -> Failure<'_> {
    Failure {
        direction: Direction::Download,
        reason: TransferReason::SizeChanged,
        message,
    }
}

#[test]
fn frames_survive_their_encoding() {
    let time = |seconds: i64, nanoseconds| {
        let distance = Duration::from_secs(seconds.unsigned_abs());
        let whole = if seconds < 0 {
            SystemTime::UNIX_EPOCH - distance
        } else {
            SystemTime::UNIX_EPOCH + distance
        };
        Some(whole + Duration::from_nanos(nanoseconds))
    };
    let attributes = |mode, modified| Attributes { mode, modified };
    for frame in [
        Frame::Receive {
            version: VERSION,
            path: b"/a/../b\xff",
        },
        Frame::Send {
            version: 7,
            entries: 1,
            bytes: u64::MAX,
            depth: 3,
            path: b".",
        },
        directory(b""),
        Frame::Directory {
            name: b"caf\xe9",
            attributes: attributes(Some(0o2755), time(-1, 1)),
        },
        Frame::Directory {
            name: b"d",
            attributes: attributes(None, time(1 << 40, 999_999_999)),
        },
        Frame::Leave,
        file(5, true, b"12345"),
        file(UNKNOWN_SIZE, false, b""),
        Frame::Content(b"\0"),
        Frame::FileEnd,
        Frame::FileAborted(failure(b"it shrank")),
        Frame::Link {
            name: b"l",
            target: b"../..",
        },
        Frame::Skipped { name: b"fifo" },
        Frame::Failed {
            name: b"",
            failure: failure(b"\xff"),
        },
        Frame::End,
        Frame::Counted {
            entries: 1,
            bytes: 2,
            is_complete: true,
        },
        Frame::Taken {
            bytes: 1,
            entries: 2,
        },
        Frame::Ignored { entries: 3 },
        Frame::Refused(failure(b"no")),
        Frame::Finished,
        Frame::GivenUp(failure(b"")),
    ] {
        let bytes = encode(&frame);
        let mut received = BytesMut::from(&bytes[..]);
        let taken = take_frame(&mut received).unwrap().unwrap();
        assert_eq!(Frame::parse(&taken).unwrap(), frame);
        assert!(received.is_empty());
        // Neither a beginning of it nor more than it is a frame, except for content.
        let has_content = matches!(frame, Frame::Content(_) | Frame::File { .. });
        for end in 0..taken.len() {
            assert!(
                Frame::parse(&taken[..end]).is_err() || has_content,
                "{frame:?}"
            );
        }
        let longer = [&taken[..], b"x"].concat();
        assert!(Frame::parse(&longer).is_err() || has_content, "{frame:?}");
    }
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    for name in [&b".."[..], b".", b"a/b", b"/", b"a\0", b"../x"] {
        for frame in [
            directory(name),
            Frame::Link { name, target: b"t" },
            Frame::Skipped { name },
            Frame::Failed {
                name,
                failure: failure(b""),
            },
        ] {
            let bytes = encode(&frame);
            Frame::parse(&bytes[4..]).unwrap_err();
        }
    }
    for nameless in [
        Frame::Skipped { name: b"" },
        Frame::Link {
            name: b"l",
            target: b"",
        },
    ] {
        Frame::parse(&encode(&nameless)[4..]).unwrap_err();
    }
}

#[test]
fn only_a_whole_frame_of_a_possible_length_is_taken() {
    let mut received = BytesMut::from(&encode(&Frame::Leave)[..4]);
    assert_eq!(take_frame(&mut received), Ok(None));
    received.extend_from_slice(b"\x04\0\0");
    assert_eq!(take_frame(&mut received).unwrap().unwrap(), &b"\x04"[..]);
    assert_eq!(take_frame(&mut received), Ok(None));
    for long in [u32::MAX, 1 + u32::try_from(MAX_FRAME).unwrap()] {
        take_frame(&mut BytesMut::from(&long.to_be_bytes()[..])).unwrap_err();
    }
}

#[test]
fn a_stream_has_an_order() {
    let link = Frame::Link {
        name: b"l",
        target: b"t",
    };
    let failed = Frame::Failed {
        name: b"",
        failure: failure(b""),
    };
    let top = directory(b"");
    let below = directory(b"d");
    let open = file(2, false, b"");
    let run = |frames: &[&Frame<'_>]| {
        let mut position = Position::default();
        let moved = frames.iter().try_for_each(|frame| position.advance(frame));
        moved.map(|()| (position.depth(), position.is_ended()))
    };
    let (leave, end, content) = (Frame::Leave, Frame::End, Frame::Content(b"12"));
    let aborted = Frame::FileAborted(failure(b""));
    for (frames, expected) in [
        (&[&top][..], (0, false)),
        (&[&top, &below, &link, &failed], (1, false)),
        (&[&top, &below, &leave, &leave, &end], (0, true)),
        (&[&top, &open, &content, &Frame::FileEnd, &link], (0, false)),
        (&[&top, &open, &aborted, &leave], (0, false)),
        (&[&top, &file(2, true, b"12"), &leave], (0, false)),
        (
            &[
                &top,
                &file(UNKNOWN_SIZE, false, b"1"),
                &content,
                &content,
                &Frame::FileEnd,
            ],
            (0, false),
        ),
    ] {
        assert_eq!(run(frames), Ok(expected), "{frames:?}");
    }
    for frames in [
        &[&below][..],
        &[&link],
        &[&end],
        &[&leave],
        &[&top, &top],
        &[&top, &end],
        &[&top, &content],
        &[&top, &Frame::FileEnd],
        &[&top, &aborted],
        &[&top, &leave, &leave],
        &[&top, &leave, &below],
        &[&top, &leave, &end, &end],
        &[&top, &leave, &end, &top],
        &[&top, &open, &open],
        &[&top, &open, &leave],
        &[&top, &open, &Frame::FileEnd],
        &[&top, &open, &content, &content],
        &[&top, &file(1, true, b"12")],
        &[&top, &file(3, true, b"12")],
        &[&top, &Frame::Finished],
    ] {
        assert!(run(frames).is_err(), "{frames:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_are_parsed_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        if let Ok(frame) = Frame::parse(&bytes) {
            let mut again = Vec::new();
            frame.encode(&mut again);
            let parsed = Frame::parse(&again[4..]);
            prop_assert_eq!(parsed.as_ref(), Ok(&frame));
        }
    }
}
