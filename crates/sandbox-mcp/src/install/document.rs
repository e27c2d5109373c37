//! Finds the members of objects in JSON text, with the comments and trailing commas that editors permit, so that the
//! text can be changed in one place and stay as it is everywhere else.

use std::ops::Range;

/// The deepest nesting.
const MAX_DEPTH: usize = 128;

/// A value in the text.
#[derive(Debug)]
pub(super) struct Node {
    /// Where it is in the text.
    pub(super) span: Range<usize>,
    pub(super) kind: Kind,
}

#[derive(Debug)]
pub(super) enum Kind {
    Object(Vec<Member>),
    /// An array, a string, a number, a boolean or null.
    Other,
}

/// A member of an object.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) key: String,
    /// Where the key begins.
    pub(super) start: usize,
    pub(super) value: Node,
    /// Whether a comma follows.
    pub(super) has_comma: bool,
}

/// Reads the one value of a text.
///
/// # Errors
///
/// Where it is not JSON.
pub(super) fn parse(text: &str) -> Result<Node, String> {
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    parser.skip_space()?;
    let node = parser.value()?;
    parser.skip_space()?;
    if parser.at < text.len() {
        return Err(parser.unexpected());
    }
    Ok(node)
}

/// Returns the text without comments and trailing commas, as serde_json reads it.
pub(super) fn to_strict(text: &str) -> String {
    let mut strict = String::with_capacity(text.len());
    let mut parser = Parser {
        text,
        at: 0,
        depth: 0,
    };
    // A comma that is not written yet, because it may be the last one.
    let mut has_comma = false;
    while parser.at < text.len() {
        if parser.skip_space().is_err() {
            // The rest is no comment, and serde_json says so.
            strict.push_str(&text[parser.at..]);
            return strict;
        }
        let start = parser.at;
        match parser.peek() {
            None => break,
            Some(b',') if !has_comma => {
                has_comma = true;
                parser.at += 1;
                continue;
            }
            Some(b'"') => {
                if parser.string().is_err() {
                    parser.at = text.len();
                }
            }
            Some(byte) => {
                if matches!(byte, b'}' | b']') {
                    has_comma = false;
                }
                parser.at += parser.text[start..]
                    .chars()
                    .next()
                    .map_or(1, char::len_utf8);
            }
        }
        if std::mem::take(&mut has_comma) {
            strict.push(',');
        }
        strict.push_str(&text[start..parser.at]);
        // Two numbers must not become one.
        if parser
            .peek()
            .is_some_and(|byte| byte.is_ascii_whitespace() || byte == b'/')
        {
            strict.push(' ');
        }
    }
    strict
}

/// Returns where the content of an object ends: after the last member or comment, before the space at its end.
pub(super) fn content_end(text: &str, object: &Range<usize>) -> usize {
    let inside = &text[..object.end - 1];
    inside.trim_end().len()
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn unexpected(&self) -> String {
        let before = &self.text[..self.at];
        let line = before.matches('\n').count() + 1;
        format!(
            "it is not JSON in line {line}; correct it first, or add the entry by hand (--print prints it)"
        )
    }

    /// Skips white space and comments.
    fn skip_space(&mut self) -> Result<(), String> {
        loop {
            let rest = &self.text[self.at..];
            let trimmed = rest.trim_start_matches([' ', '\t', '\r', '\n', '\u{feff}']);
            self.at += rest.len() - trimmed.len();
            if trimmed.starts_with("//") {
                self.at += trimmed.find('\n').unwrap_or(trimmed.len());
            } else if trimmed.starts_with("/*") {
                let end = trimmed.find("*/").ok_or_else(|| self.unexpected())?;
                self.at += end + 2;
            } else {
                return Ok(());
            }
        }
    }

    fn value(&mut self) -> Result<Node, String> {
        let start = self.at;
        let kind = match self.peek() {
            Some(b'{') => self.nested(|parser| parser.object())?,
            Some(b'[') => self.nested(|parser| parser.array())?,
            Some(b'"') => {
                self.string()?;
                Kind::Other
            }
            _ => {
                self.scalar()?;
                Kind::Other
            }
        };
        Ok(Node {
            span: start..self.at,
            kind,
        })
    }

    fn nested(
        &mut self,
        parse: impl FnOnce(&mut Self) -> Result<Kind, String>,
    ) -> Result<Kind, String> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(format!("it is nested more than {MAX_DEPTH} levels deep"));
        }
        self.at += 1;
        let kind = parse(self);
        self.depth -= 1;
        kind
    }

    fn object(&mut self) -> Result<Kind, String> {
        let mut members: Vec<Member> = Vec::new();
        loop {
            self.skip_space()?;
            if self.peek() == Some(b'}') {
                self.at += 1;
                return Ok(Kind::Object(members));
            }
            if members.last().is_some_and(|last| !last.has_comma) {
                return Err(self.unexpected());
            }
            let start = self.at;
            let key = self.string()?;
            self.skip_space()?;
            if self.peek() != Some(b':') {
                return Err(self.unexpected());
            }
            self.at += 1;
            self.skip_space()?;
            let value = self.value()?;
            self.skip_space()?;
            let has_comma = self.take_comma();
            members.push(Member {
                key,
                start,
                value,
                has_comma,
            });
        }
    }

    fn array(&mut self) -> Result<Kind, String> {
        let mut may_continue = true;
        loop {
            self.skip_space()?;
            if self.peek() == Some(b']') {
                self.at += 1;
                return Ok(Kind::Other);
            }
            if !may_continue {
                return Err(self.unexpected());
            }
            self.value()?;
            self.skip_space()?;
            may_continue = self.take_comma();
        }
    }

    fn take_comma(&mut self) -> bool {
        let is_comma = self.peek() == Some(b',');
        self.at += usize::from(is_comma);
        is_comma
    }

    fn string(&mut self) -> Result<String, String> {
        let start = self.at;
        if self.peek() != Some(b'"') {
            return Err(self.unexpected());
        }
        let mut end = start + 1;
        let bytes = self.text.as_bytes();
        loop {
            match bytes.get(end) {
                Some(b'"') => break,
                Some(b'\\') => end += 2,
                Some(b'\n') | None => return Err(self.unexpected()),
                Some(_) => end += 1,
            }
        }
        let text = self
            .text
            .get(start..=end)
            .ok_or_else(|| self.unexpected())?;
        let string = serde_json::from_str(text).map_err(|_| self.unexpected())?;
        self.at = end + 1;
        Ok(string)
    }

    fn scalar(&mut self) -> Result<(), String> {
        let rest = &self.text[self.at..];
        let end = rest
            .find(|character: char| {
                !character.is_ascii_alphanumeric() && !matches!(character, '+' | '-' | '.')
            })
            .unwrap_or(rest.len());
        serde_json::from_str::<serde_json::Value>(&rest[..end]).map_err(|_| self.unexpected())?;
        self.at += end;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn comments_and_trailing_commas_are_understood() {
        let text = "\u{feff}// a\n{ /* \"b\": 1 */ \"c\": [1, 2 /* */, ], \"u // r\\\"l\": \"http://x\", // d\n \"e\": {}, }\n";
        let strict: Option<Value> = serde_json::from_str(&to_strict(text)).ok();
        assert_eq!(
            strict,
            Some(json!({"c": [1, 2], "u // r\"l": "http://x", "e": {}}))
        );
        let keys = parse(text).map(|node| match node.kind {
            Kind::Object(members) => members.into_iter().map(|member| member.key).collect(),
            Kind::Other => Vec::new(),
        });
        assert_eq!(
            keys,
            Ok(vec!["c".to_owned(), "u // r\"l".to_owned(), "e".to_owned()])
        );
    }

    #[test]
    fn what_is_not_json_is_refused() {
        for text in [
            "",
            "{",
            "}",
            "{]",
            "{\"a\"}",
            "{\"a\":}",
            "{\"a\": 1 \"b\": 2}",
            "{a: 1}",
            "{'a': 1}",
            "{,}",
            "{\"a\": 1,,}",
            "[1 2]",
            "{\"a\": 01}",
            "{} {}",
            "/* {}",
            "{\"a\": \"\n\"}",
            "{\"a",
            "{\"a\\",
            "{\"a\": nope}",
            "é",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        assert!(parse(&deep).is_err());
        assert!(parse("{\"a\": [1, {\"b\": null}], }").is_ok());
    }
}
