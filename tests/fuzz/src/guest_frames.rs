//! What a hostile server sends on a channel of the guest protocol: mostly frames that belong there, with arbitrary content.

use bytes::BytesMut;
use sandbox_core::guest::{
    FileEntry, FileEvent, FileEventKind, FrameKind, Refusal, RefusalCode, put_frame,
};
use serde_json::{Value, json};

use crate::input::Input;

const MAX_FRAMES: usize = 60;

/// Returns all that is sent in one operation.
pub(crate) fn encode_stream(input: &mut Input) -> Vec<u8> {
    let mut stream = BytesMut::new();
    for _ in 0..MAX_FRAMES {
        if input.is_empty() {
            break;
        }
        encode_frame(input, &mut stream);
    }
    match input.choice(4) {
        0 => {}
        1 => put(&mut stream, FrameKind::Message, &text_of(&ended(input))),
        _ => put(&mut stream, FrameKind::ContentEnd, b""),
    }
    stream.to_vec()
}

fn encode_frame(input: &mut Input, stream: &mut BytesMut) {
    match input.choice(20) {
        0..=9 => {
            let message = message(input);
            put(stream, FrameKind::Message, &text_of(&message));
        }
        10..=12 => put(stream, FrameKind::Content, &input.text()),
        13 => put(stream, FrameKind::Stderr, &input.text()),
        14 => put(stream, FrameKind::Terminal, &input.text()),
        15 => {
            let message = String::from_utf8_lossy(&input.text()).into_owned();
            let refusal = Refusal::new(RefusalCode::NotFound, message);
            let mut json = json!(refusal);
            if input.choice(4) == 3 {
                json["code"] = json!(text(input));
            }
            put(stream, FrameKind::Refusal, &text_of(&json));
        }
        16 => put(stream, FrameKind::Taken, &input.number32().to_be_bytes()),
        17 => put(stream, FrameKind::ContentEnd, b""),
        18 => put(stream, FrameKind::Message, &input.text()),
        _ => {
            // No frame, or one of a false length.
            stream.extend_from_slice(&input.number32().to_be_bytes());
            stream.extend_from_slice(&input.text());
        }
    }
}

fn put(stream: &mut BytesMut, kind: FrameKind, payload: &[u8]) {
    put_frame(stream, kind, payload).unwrap();
}

fn text_of(message: &Value) -> Vec<u8> {
    message.to_string().into_bytes()
}

fn text(input: &mut Input) -> String {
    String::from_utf8_lossy(&input.name()).into_owned()
}

/// A message of any operation, or one with a field of another type.
fn message(input: &mut Input) -> Value {
    let mut message = match input.choice(10) {
        0..=2 => json!(entry(input)),
        3..=4 => {
            let kinds = [
                FileEventKind::Created,
                FileEventKind::Removed,
                FileEventKind::Renamed,
                FileEventKind::Overflow,
            ];
            let kind = kinds[usize::from(input.choice(4))];
            let mut event = FileEvent::new(input.name(), kind);
            event.entry = (input.choice(2) == 1).then(|| Box::new(entry(input)));
            json!(event)
        }
        5 => json!({"entry": entry(input), "bytes": input.number()}),
        6 => json!({"pid": input.number32()}),
        7 => json!({"pid": input.number32(), "spec": {"argv": [text(input)], "tag": text(input)}}),
        8 => ended(input),
        _ => json!({
            "is_paused": true, "is_changed": false, "watcher": text(input), "at_ms": input.number(),
            "cpu_count": 1, "cpu_percent": 1e300, "memory_total": input.number(), "memory_used": 0,
            "memory_cache": 0, "disk_total": 0, "disk_used": input.number(), "done": true,
        }),
    };
    if input.choice(8) == 7
        && let Some(fields) = message.as_object_mut()
    {
        let names: Vec<String> = fields.keys().cloned().collect();
        if let Some(name) = names.get(usize::from(input.byte()) % names.len().max(1)) {
            fields.insert(name.clone(), json!(text(input)));
        }
    }
    message
}

fn entry(input: &mut Input) -> FileEntry {
    let mut entry = FileEntry::default();
    let name = input.name();
    entry.path = match input.choice(4) {
        3 => input.name().into(),
        _ => [b"/d/", &name[..]].concat().into(),
    };
    entry.name = name.into();
    entry.size = input.number();
    entry.owner = text(input);
    entry
}

fn ended(input: &mut Input) -> Value {
    match input.choice(4) {
        0 => json!({"exited": input.number32()}),
        1 => json!({"killed": text(input)}),
        2 => json!({"killed": "KILL"}),
        _ => json!({"exited": 0}),
    }
}
