//! docs/TROUBLESHOOTING.md quotes messages that the code really contains.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::path::Path;

/// Pieces of a message that are shorter may occur anywhere.
const SHORTEST: usize = 10;

/// The code of all crates, with string literals that span lines joined.
fn code(directory: &Path, text: &mut String) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            code(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&joined(&std::fs::read_to_string(path).unwrap()));
        }
    }
}

fn joined(code: &str) -> String {
    let mut lines = code.split("\\\n");
    let first = lines.next().unwrap_or_default().to_owned();
    lines.fold(first, |text, line| text + line.trim_start())
}

/// What stands between single backquotes in the first column of each table.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
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
        code(&entry.unwrap().path().join("src"), &mut text);
    }
    let mut checked = 0;
    for message in quoted(&page) {
        // The code puts sentences together where these stand.
        let pieces = message
            .split('…')
            .flat_map(|part| part.split(" is not supported by "));
        for piece in pieces.flat_map(|part| part.split(": ")) {
            let piece = piece.trim_matches(|c: char| c.is_whitespace() || ":;,()".contains(c));
            if piece.len() >= SHORTEST {
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
