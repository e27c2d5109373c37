//! Parses the values of variables. `None` always means an invalid value.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sandbox_core::SandboxSpec;

use crate::duration::parse_duration;

/// The value that switches a limit off.
const NONE: &str = "none";

/// One value, never empty.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(pub(crate) &'a OsStr);

impl<'a> Value<'a> {
    pub(crate) fn parse<T: FromStr>(self) -> Option<T> {
        self.text()?.parse().ok()
    }

    /// Parses one of the words of a list such as `auto, direct or port-forward`, which is also the
    /// text of the message about an invalid value.
    pub(crate) fn one_of(self, words: &str) -> Option<String> {
        let text = self.text()?;
        words
            .split(", ")
            .flat_map(|part| part.split(" or "))
            .any(|word| word == text)
            .then(|| text.to_owned())
    }

    /// Parses a whole number of at least 1.
    pub(crate) fn count<T: FromStr + PartialOrd + From<u8>>(self) -> Option<T> {
        // `parse` also accepts a leading plus.
        let text = self
            .text()
            .filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))?;
        text.parse().ok().filter(|count| *count >= T::from(1))
    }

    pub(crate) fn duration(self, min: Duration) -> Option<Duration> {
        parse_duration(self.text()?).filter(|duration| *duration >= min)
    }

    /// Parses a duration or `none`: the outer `None` means invalid, the inner one switched off.
    #[allow(clippy::option_option, reason = "invalid and switched off differ")]
    pub(crate) fn duration_or_none(self, min: Duration) -> Option<Option<Duration>> {
        if self.0 == NONE {
            Some(None)
        } else {
            self.duration(min).map(Some)
        }
    }

    pub(crate) fn path(self) -> PathBuf {
        PathBuf::from(self.0)
    }

    pub(crate) fn absolute_path(self) -> Option<PathBuf> {
        Some(self.path()).filter(|path| path.is_absolute())
    }

    /// Parses an absolute path in an image, which has `/` on every system.
    pub(crate) fn container_path(self) -> Option<String> {
        self.line()
            .filter(|path| path.starts_with('/') && !path.ends_with('/'))
    }

    /// Parses the id of a user other than root, or `none`. `u32::MAX` is invalid, because it means
    /// "no change" to the kernel.
    #[allow(clippy::option_option, reason = "invalid and switched off differ")]
    pub(crate) fn user_or_none(self) -> Option<Option<u32>> {
        if self.0 == NONE {
            Some(None)
        } else {
            self.count().filter(|user| *user != u32::MAX).map(Some)
        }
    }

    pub(crate) fn image(self) -> Option<String> {
        let mut spec = SandboxSpec::default();
        spec.image = Some(self.text()?.to_owned());
        spec.validate().ok()?;
        spec.image
    }

    /// Parses a name of ASCII letters, digits and the given signs.
    pub(crate) fn name(self, signs: &str, max_length: usize) -> Option<String> {
        let fits = |text: &str| {
            text.len() <= max_length
                && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
        };
        self.text().filter(|text| fits(text)).map(str::to_owned)
    }

    /// Parses one line of text, without control characters.
    pub(crate) fn line(self) -> Option<String> {
        self.text()
            .filter(|text| !text.chars().any(char::is_control))
            .map(str::to_owned)
    }

    fn text(self) -> Option<&'a str> {
        self.0.to_str()
    }
}
