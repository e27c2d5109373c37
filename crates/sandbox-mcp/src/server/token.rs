//! The token that clients over HTTP show.

use std::fmt;
use std::path::Path;

use subtle::ConstantTimeEq;

use crate::error::McpError;

/// The shortest token. Whoever has the token runs commands, so it must not be guessed.
const MIN_LEN: usize = 16;
/// The longest token.
const MAX_LEN: usize = 4096;

/// The token that clients over HTTP show, as `Authorization: Bearer TOKEN`
/// ([RFC 6750](https://www.rfc-editor.org/rfc/rfc6750#section-2.1)). `Debug` does not show it.
#[derive(Clone)]
pub struct BearerToken(String);

impl BearerToken {
    /// Accepts a token of 16 to 4,096 visible ASCII characters. White space around it is dropped.
    ///
    /// # Errors
    ///
    /// [`McpError::Config`] for any other.
    pub fn new(token: &str) -> Result<Self, McpError> {
        let token = token.trim();
        let is_visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !(MIN_LEN..=MAX_LEN).contains(&token.len()) || !is_visible {
            return Err(McpError::Config {
                option: "the token",
                reason: format!(
                    "use {MIN_LEN} to {MAX_LEN} visible ASCII characters, such as the output of `openssl rand -hex 32`"
                ),
            });
        }
        Ok(Self(token.to_owned()))
    }

    /// Reads a token from a file.
    ///
    /// # Errors
    ///
    /// [`McpError::File`] if it cannot be read, and as [`new`](Self::new).
    pub fn from_file(path: &Path) -> Result<Self, McpError> {
        use std::io::Read;
        let mut text = String::new();
        std::fs::File::open(path)
            .and_then(|file| file.take(2 * MAX_LEN as u64).read_to_string(&mut text))
            .map_err(|source| McpError::file("read the token file", path, source))?;
        Self::new(&text)
    }

    /// Whether a header `Authorization` has this token. The time does not depend on where they differ.
    pub(crate) fn is_in(&self, authorization: Option<&http::HeaderValue>) -> bool {
        let Some(value) = authorization.map(http::HeaderValue::as_bytes) else {
            return false;
        };
        let Some((scheme, shown)) = value.split_at_checked("Bearer ".len()) else {
            return false;
        };
        scheme.eq_ignore_ascii_case(b"Bearer ")
            && bool::from(shown.trim_ascii().ct_eq(self.0.as_bytes()))
    }
}

impl fmt::Debug for BearerToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BearerToken(..)")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

    use http::HeaderValue;

    use super::*;

    #[test]
    fn only_the_whole_token_is_accepted() {
        let token = BearerToken::new(" 0123456789abcdef\n").unwrap();
        for (header, is_accepted) in [
            (Some("Bearer 0123456789abcdef"), true),
            (Some("bearer  0123456789abcdef "), true),
            (Some("Bearer 0123456789abcde"), false),
            (Some("Bearer 0123456789abcdef0"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some(""), false),
            (Some("Basic 0123456789abcdef"), false),
            (Some("0123456789abcdef"), false),
            (None, false),
        ] {
            let value = header.map(|header| HeaderValue::from_str(header).unwrap());
            assert_eq!(token.is_in(value.as_ref()), is_accepted, "{header:?}");
        }
        assert_eq!(format!("{token:?}"), "BearerToken(..)");
    }

    #[test]
    fn a_weak_token_is_refused() {
        for token in [
            "",
            "short",
            "with a space in it",
            "ünïcödeünïcödeünïcöde",
            &"x".repeat(5000),
        ] {
            assert!(BearerToken::new(token).is_err(), "{token}");
        }
        assert!(BearerToken::from_file(Path::new("/does/not/exist")).is_err());
    }
}
