//! The stream of a tree that a hostile server sends: mostly frames in a possible order, with
//! arbitrary content.

use std::time::{Duration, SystemTime};

use sandbox_core::tree_stream::{Attributes, Failure, Frame, UNKNOWN_SIZE};
use sandbox_core::{Direction, TransferReason};

use crate::input::Input;

/// More than the limits of the client allow.
const MAX_FRAMES: usize = 200;

/// Returns a whole stream.
pub(crate) fn encode_stream(input: &mut Input) -> Vec<u8> {
    let mut stream = Vec::new();
    if input.choice(8) != 0 {
        let counted = Frame::Counted {
            entries: u64::from(input.choice(60)),
            bytes: u64::from(input.byte()),
            is_complete: true,
        };
        counted.encode(&mut stream);
        let attributes = Attributes {
            mode: Some(0o755),
            modified: None,
        };
        Frame::Directory {
            name: b"",
            attributes,
        }
        .encode(&mut stream);
    }
    let mut depth = 1_usize;
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        encode_frame(input, &mut depth, &mut stream);
    }
    for _ in 0..depth {
        Frame::Leave.encode(&mut stream);
    }
    Frame::End.encode(&mut stream);
    stream
}

fn encode_frame(input: &mut Input, depth: &mut usize, stream: &mut Vec<u8>) {
    let kind = input.choice(20);
    let name = input.name();
    let content = input.text();
    let attributes = attributes(input);
    let frame = match kind {
        0..=4 => Frame::File {
            name: &name,
            attributes,
            size: content.len() as u64,
            is_whole: true,
            content: &content,
        },
        5..=8 => {
            *depth += 1;
            Frame::Directory {
                name: &name,
                attributes,
            }
        }
        9..=10 => {
            *depth = depth.saturating_sub(1);
            Frame::Leave
        }
        11..=12 => {
            let target = [input.name(), b"/".to_vec(), input.name()].concat();
            let link = Frame::Link {
                name: &name,
                target: &target,
            };
            link.encode(stream);
            return;
        }
        13 => {
            // A file in parts, with a size that may be wrong.
            let size = match input.choice(4) {
                0 => UNKNOWN_SIZE,
                1 => input.number(),
                _ => 2 * content.len() as u64,
            };
            let first = Frame::File {
                name: &name,
                attributes,
                size,
                is_whole: false,
                content: &content,
            };
            first.encode(stream);
            Frame::Content(&content).encode(stream);
            match input.choice(3) {
                0 => Frame::FileAborted(failure(input, &name)).encode(stream),
                _ => Frame::FileEnd.encode(stream),
            };
            return;
        }
        14 => Frame::Skipped { name: &name },
        15 => {
            let failure = failure(input, &content);
            let name = &name;
            Frame::Failed { name, failure }.encode(stream);
            return;
        }
        16 => Frame::GivenUp(failure(input, &content)),
        17 => Frame::Taken {
            bytes: input.number(),
            entries: input.number(),
        },
        18 => Frame::Content(&content),
        _ => {
            // No frame, or one of another length.
            stream.extend(input.take(6));
            stream.extend(&content);
            return;
        }
    };
    frame.encode(stream);
}

fn attributes(input: &mut Input) -> Attributes {
    let seconds = Duration::from_secs(input.number() >> 8);
    let mode = input.number32();
    Attributes {
        mode: (input.choice(4) != 0).then_some(mode & 0o7777),
        modified: SystemTime::UNIX_EPOCH.checked_add(seconds),
    }
}

fn failure<'a>(input: &mut Input, message: &'a [u8]) -> Failure<'a> {
    let reasons = [
        TransferReason::Other,
        TransferReason::NotFound,
        TransferReason::NoSpace,
        TransferReason::Lost,
    ];
    Failure {
        direction: Direction::Inside,
        reason: reasons[usize::from(input.choice(4))],
        message,
    }
}
