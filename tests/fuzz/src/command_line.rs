//! The string of an exec request, as sandbox-sshd parses it.

use sandbox_core::command_line::{CommandLine, quote};

/// A parsed string is encoded to the same string, and a quoted string can be parsed.
pub(crate) fn target(bytes: &[u8]) {
    if let Some(line) = CommandLine::parse(bytes)
        && let Ok(encoded) = line.encode()
    {
        assert_eq!(encoded, bytes, "two encodings of one command");
    }
    let words: Vec<Vec<u8>> = bytes
        .split(|byte| *byte == b'\n')
        .map(<[u8]>::to_vec)
        .collect();
    for word in &words {
        let line = [b"exec ", &quote(word)[..]].concat();
        let parsed = CommandLine::parse(&line).expect("a quoted word can be parsed");
        assert!(parsed.argv.len() == 1 && parsed.argv[0] == *word);
    }
    let line = CommandLine {
        directory: words.first().cloned(),
        argv: words,
    };
    if let Ok(encoded) = line.encode() {
        assert!(
            CommandLine::parse(&encoded) == Some(line),
            "an encoded command can be parsed"
        );
    }
}
