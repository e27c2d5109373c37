//! Values of variables, and what they are read as. `None` is always "not accepted".

use std::ffi::OsStr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use sandbox_core::SandboxSpec;

use crate::parse_duration;

/// The word that switches a limit off.
const NONE: &str = "none";

/// One value, never empty.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(pub(crate) &'a OsStr);

impl<'a> Value<'a> {
    pub(crate) fn parsed<T: FromStr>(self) -> Option<T> {
        self.text()?.parse().ok()
    }

    pub(crate) fn count<T: FromStr + PartialOrd + From<u8>>(self) -> Option<T> {
        // `parse` also takes a leading plus.
        let text = self
            .text()
            .filter(|text| text.starts_with(|c: char| c.is_ascii_digit()))?;
        text.parse().ok().filter(|count| *count >= T::from(1))
    }

    pub(crate) fn duration(self, least: Duration) -> Option<Duration> {
        parse_duration(self.text()?).filter(|duration| *duration >= least)
    }

    /// The outer `None` is "not accepted", the inner one "switched off".
    #[allow(clippy::option_option, reason = "two different things are said")]
    pub(crate) fn duration_or_none(self, least: Duration) -> Option<Option<Duration>> {
        if self.0 == NONE {
            Some(None)
        } else {
            self.duration(least).map(Some)
        }
    }

    pub(crate) fn path(self) -> PathBuf {
        PathBuf::from(self.0)
    }

    pub(crate) fn absolute_path(self) -> Option<PathBuf> {
        Some(self.path()).filter(|path| path.is_absolute())
    }

    /// An absolute path in an image, which is not this system's.
    pub(crate) fn container_path(self) -> Option<String> {
        self.line()
            .filter(|path| path.starts_with('/') && !path.ends_with('/'))
    }

    /// A user other than root. The last number means "no change" to the kernel.
    #[allow(clippy::option_option, reason = "two different things are said")]
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

    /// A word of letters, digits and some signs: for names of things elsewhere.
    pub(crate) fn word(self, signs: &str, longest: usize) -> Option<String> {
        let fits = |text: &str| {
            text.len() <= longest
                && text.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '_')
                && text
                    .chars()
                    .all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
        };
        self.text().filter(|text| fits(text)).map(str::to_owned)
    }

    /// Any text without control characters.
    pub(crate) fn line(self) -> Option<String> {
        self.text()
            .filter(|text| !text.chars().any(char::is_control))
            .map(str::to_owned)
    }

    fn text(self) -> Option<&'a str> {
        self.0.to_str()
    }
}
