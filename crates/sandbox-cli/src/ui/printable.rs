//! Text that may be printed: what came from a sandbox is escaped in it.

use anyhow::Context;
use sandbox::Escaped;
use serde::Serialize;

use crate::ui::json::escape_json;

/// Text for a terminal. Everything that is printed is of this type, and each of its constructors
/// either escapes or says that the text is trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Printable(String);

impl Printable {
    /// Text that this program or its user wrote.
    pub(crate) fn trusted(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Text on one line: a line break in it is escaped, too.
    pub(crate) fn line(text: impl AsRef<[u8]>) -> Self {
        Self(Escaped::new(&text).to_string())
    }

    /// Text that keeps its line breaks. The lines after the first one begin with `indent`, so that
    /// none of them looks like a line of this program.
    pub(crate) fn indented(text: &str, indent: &str) -> Self {
        let lines: Vec<String> = text
            .trim_end()
            .lines()
            .map(|line| Escaped::new(line).to_string())
            .collect();
        Self(lines.join(&format!("\n{indent}")))
    }

    /// A value as JSON, on several lines.
    ///
    /// # Errors
    ///
    /// If the value has a map with keys that are not text.
    pub(crate) fn json(value: &(impl Serialize + ?Sized)) -> anyhow::Result<Self> {
        let json = serde_json::to_string_pretty(value).context("cannot write JSON")?;
        Ok(Self(escape_json(&json)))
    }

    /// A value as JSON, on one line.
    ///
    /// # Errors
    ///
    /// As [`json`](Self::json).
    pub(crate) fn json_line(value: &(impl Serialize + ?Sized)) -> anyhow::Result<Self> {
        let json = serde_json::to_string(value).context("cannot write JSON")?;
        Ok(Self(escape_json(&json)))
    }

    /// Appends text.
    #[must_use]
    pub(crate) fn with(mut self, text: &Self) -> Self {
        self.0.push_str(&text.0);
        self
    }

    /// Appends text of this program.
    #[must_use]
    pub(crate) fn with_trusted(mut self, text: &str) -> Self {
        self.0.push_str(text);
        self
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn untrusted_text_is_escaped() {
        assert_eq!(
            Printable::line("a\n\u{1b}[2J\u{202e}").as_str(),
            "a\\n\\u{1b}[2J\\u{202e}"
        );
        assert_eq!(Printable::line(b"caf\xe9").as_str(), "caf\\xe9");
        assert_eq!(
            Printable::indented("a\x07\nb\n", "  ").as_str(),
            "a\\u{7}\n  b"
        );
    }
}
