//! Reads a `.env` file with dotenvy, and finds the line of each variable.

use std::cell::Cell;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::rc::Rc;

use sandbox_core::{Error, Result};

use crate::resolve::Entry;
use crate::variables::{PREFIX, Variable};

/// The maximum size of a file in bytes. It also ends the reading of a device or a pipe.
const MAX_SIZE: u64 = 1 << 20;

const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// Reads the file. The result has no byte order mark, and a newline at its end.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    let config = |why: String| Error::Config {
        message: format!("cannot read {}: {why}", path.display()),
    };
    let mut content = Vec::new();
    std::fs::File::open(path)
        .and_then(|file| file.take(MAX_SIZE + 1).read_to_end(&mut content))
        .map_err(|error| config(error.to_string()))?;
    if content.len() as u64 > MAX_SIZE {
        return Err(config("it is larger than 1 MiB".into()));
    }
    if content.starts_with(BYTE_ORDER_MARK) {
        content.drain(..BYTE_ORDER_MARK.len());
    }
    // Without the newline, dotenvy takes a blank at the very end for an open quote.
    content.push(b'\n');
    Ok(content)
}

/// Returns the variables and mistakes of a file. A mistake never repeats content of the file,
/// because a line that cannot be parsed may be part of a secret.
pub(crate) fn entries<'a>(file: &'a str, content: &'a [u8]) -> impl Iterator<Item = Entry> + 'a {
    let lines: Vec<&[u8]> = content.split(|byte| *byte == b'\n').collect();
    let lines_read = Rc::new(Cell::new(0));
    let mut variables = dotenvy::Iter::new(LineByLine {
        rest: content,
        lines_read: Rc::clone(&lines_read),
    });
    std::iter::from_fn(move || {
        let before = lines_read.get();
        let found = variables.next()?;
        let entry = before..lines_read.get();
        let first = entry
            .clone()
            .find(|line| !is_blank(lines[*line]))
            .unwrap_or(before);
        let place = format!("{file} line {}", first + 1);
        // Comments above the variable are left out, because a '$' in them is allowed.
        let text = lines[first..entry.end].join(&b'\n');
        Some(match found {
            Ok((name, _)) if name.starts_with(PREFIX) && has_dollar(&text) => {
                Entry::Mistake(format!(
                    "{place}: {name} contains a '$': variables are not expanded here, write the value out"
                ))
            }
            Ok((name, value)) => Entry::File {
                name,
                value: value.into(),
                place,
            },
            Err(dotenvy::Error::Io(error)) if error.kind() == io::ErrorKind::InvalidData => {
                Entry::Mistake(format!("{place} is not UTF-8 text"))
            }
            Err(_unreadable) => {
                let name = setting_name(lines[first])
                    .map(|name| format!(": {name}"))
                    .unwrap_or_default();
                Entry::Mistake(format!(
                    "{place}{name} cannot be read: write NAME=value, with quotes around a value that has blanks, and close each quote"
                ))
            }
        })
    })
}

/// Provides one line at a time, so that the number of lines read is the position of dotenvy.
struct LineByLine<'a> {
    rest: &'a [u8],
    lines_read: Rc<Cell<usize>>,
}

impl Read for LineByLine<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let space = buf.len();
        let length = (&self.rest[..self.rest.len().min(space)]).skip_until(b'\n')?;
        buf[..length].copy_from_slice(&self.rest[..length]);
        if self.rest[..length].ends_with(b"\n") {
            self.lines_read.set(self.lines_read.get() + 1);
        }
        self.rest = &self.rest[length..];
        Ok(length)
    }
}

/// Returns whether the value of an entry contains a '$'. A comment after the value does not count;
/// the rules for the end of a value are those of dotenvy.
fn has_dollar(entry: &[u8]) -> bool {
    let value = entry.iter().skip_while(|byte| **byte != b'=').skip(1);
    let mut quote = None;
    let mut escaped = false;
    for &byte in value.skip_while(|byte| byte.is_ascii_whitespace()) {
        match (quote, byte) {
            (_, b'$') => return true,
            _ if escaped => escaped = false,
            (None, b' ' | b'\t') => return false,
            (None | Some(b'"'), b'\\') => escaped = true,
            (None, b'\'' | b'"') => quote = Some(byte),
            (Some(open), _) if byte == open => quote = None,
            _ => {}
        }
    }
    false
}

fn is_blank(line: &[u8]) -> bool {
    let text = line.trim_ascii();
    text.is_empty() || text.starts_with(b"#")
}

/// Returns the name that a line sets, if it is the name of a setting. Any other name may be a
/// secret.
fn setting_name(line: &[u8]) -> Option<&'static str> {
    let text = std::str::from_utf8(line).ok()?.trim_start();
    let text = text.strip_prefix("export ").unwrap_or(text).trim_start();
    let end = text.find(|c: char| !c.is_ascii_alphanumeric() && c != '_')?;
    Variable::by_name(&text[..end]).map(|variable| variable.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show_entries(content: &str) -> Vec<String> {
        let content = format!("{content}\n");
        entries(".env", content.as_bytes())
            .map(|entry| match entry {
                Entry::File { name, value, place } => format!("{place} {name}={value:?}"),
                Entry::Mistake(sentence) => sentence,
                Entry::Environment { .. } => unreachable!(),
            })
            .collect()
    }

    #[test]
    fn lines_are_counted_over_comments_blanks_and_long_values() {
        let found = show_entries("# c\n\nA=1\nexport B=\"x\ny\nz\"\n  # c\nC='#' # c\nD=4 ");
        assert_eq!(
            found,
            [
                ".env line 3 A=\"1\"",
                ".env line 4 B=\"x\\ny\\nz\"",
                ".env line 8 C=\"#\"",
                ".env line 9 D=\"4\"",
            ]
        );
    }

    #[test]
    fn lines_longer_than_the_buffer_are_one_line() {
        let found = show_entries(&format!("A={}\nB=2", "x".repeat(20_000)));
        assert!(
            found[0].starts_with(".env line 1 A=") && found[1] == ".env line 2 B=\"2\"",
            "{}",
            found[1]
        );
    }

    #[test]
    fn lines_that_cannot_be_parsed_are_named_and_not_shown() {
        let found = show_entries(
            "secret words\nSANDBOX_CPU=secret words\nA=1\nSANDBOX_TTL=\"secret\nsecret=2",
        );
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found[0].starts_with(".env line 1 cannot be read"));
        assert!(found[1].starts_with(".env line 2: SANDBOX_CPU cannot be read"));
        assert!(found[3].starts_with(".env line 4: SANDBOX_TTL cannot be read"));
        assert!(!found.concat().contains("secret"));
    }

    #[test]
    fn variables_are_not_expanded_in_settings() {
        let found =
            show_entries("TOKEN=$PATH\nSANDBOX_IMAGE=evil.example/$TOKEN\nSANDBOX_IMAGE='a$b'");
        assert!(
            found[1].contains("line 2: SANDBOX_IMAGE contains a '$'"),
            "{found:?}"
        );
        assert!(found[2].contains("line 3"), "{found:?}");
    }

    #[test]
    fn a_dollar_in_a_comment_above_is_accepted() {
        let found = show_entries("# else $HOME/x\n\n#A=$B\nSANDBOX_CPU=2");
        assert_eq!(found, [".env line 4 SANDBOX_CPU=\"2\""]);
    }

    #[test]
    fn a_dollar_in_a_comment_after_a_value_is_accepted() {
        for value in [
            "2 # $HOME",
            "\"2\" # $HOME",
            "'2'\t# it's $HOME",
            r#""a\" b" # $B"#,
        ] {
            let found = show_entries(&format!("SANDBOX_IMAGE={value}"));
            assert!(
                found[0].starts_with(".env line 1 SANDBOX_IMAGE="),
                "{found:?}"
            );
        }
        for value in [
            "a#$B",
            "'a # $B'",
            "\"a # $B.\" # c",
            r"a\ $B # c",
            "' # '$B",
            "\" # \n$B.\"",
        ] {
            let found = show_entries(&format!("SANDBOX_IMAGE={value}"));
            assert!(found[0].contains("contains a '$'"), "{value}: {found:?}");
        }
    }

    #[test]
    fn bytes_that_are_not_utf8_are_a_mistake_of_their_line_alone() {
        let found: Vec<_> = entries(".env", b"A=1\nB=\xff\nC=3\n").collect();
        assert!(
            matches!(&found[1], Entry::Mistake(sentence) if sentence == ".env line 2 is not UTF-8 text")
        );
        assert!(matches!(&found[2], Entry::File { place, .. } if place == ".env line 3"));
    }
}
