//! The one string of an exec request, as our server reads it.

use sandbox_core::command_line::{CommandLine, quote};

/// What is recognised is written back the same, and what is quoted is recognised.
pub(crate) fn target(bytes: &[u8]) {
    if let Some(line) = CommandLine::parse(bytes)
        && let Ok(encoded) = line.encode()
    {
        assert_eq!(encoded, bytes, "two forms of one command");
    }
    let words: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for word in &words {
        let line = [b"exec ", &quote(word)[..]].concat();
        let read = CommandLine::parse(&line).expect("what was quoted is read");
        assert!(read.argv.len() == 1 && read.argv[0] == *word);
    }
    let line = CommandLine {
        directory: words.first().cloned(),
        argv: words,
    };
    if let Ok(encoded) = line.encode() {
        assert!(
            CommandLine::parse(&encoded) == Some(line),
            "what was written is read"
        );
    }
}
