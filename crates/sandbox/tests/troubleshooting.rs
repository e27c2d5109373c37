//! Checks that the code contains the messages that docs/TROUBLESHOOTING.md quotes.

#![allow(clippy::unwrap_used, reason = "a failed unwrap fails the test")]

use std::path::Path;

/// The shortest piece of a message that is checked. Shorter ones may occur anywhere.
const MIN_PIECE_LEN: usize = 10;

/// Reads all code below a directory, also of scripts, with each string literal on one line.
fn read_code(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            read_code(&path, text);
        } else if path
            .extension()
            .is_some_and(|extension| extension == "rs" || extension == "sh")
        {
            text.push_str(&join_literals(&std::fs::read_to_string(path).unwrap()));
        }
    }
}

/// Joins the lines of string literals.
fn join_literals(code: &str) -> String {
    let mut lines = code.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// Returns the texts in backquotes in the first column of each table.
fn quoted_messages(page: &str) -> impl Iterator<Item = &str> {
    let rows = page
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" | ").next());
    rows.flat_map(|cell| cell.split('`').skip(1).step_by(2))
}

#[test]
fn each_quoted_message_is_in_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let page = std::fs::read_to_string(root.join("docs/TROUBLESHOOTING.md")).unwrap();
    let mut text = String::new();
    for entry in std::fs::read_dir(root.join("crates")).unwrap() {
        read_code(&entry.unwrap().path().join("src"), &mut text);
    }
    let mut checked = 0;
    for message in quoted_messages(&page) {
        // At these places the code puts a message together.
        let pieces = message
            .split('…')
            .flat_map(|part| part.split(" does not support "));
        for piece in pieces.flat_map(|part| part.split(": ")) {
            let piece = piece.trim_matches(|c: char| c.is_whitespace() || ":;,()".contains(c));
            if piece.len() >= MIN_PIECE_LEN {
                assert!(
                    text.contains(piece),
                    "no message in the code contains {piece:?}, quoted in {message:?}"
                );
                checked += 1;
            }
        }
    }
    assert!(checked > 50, "only {checked} pieces were found on the page");
}
