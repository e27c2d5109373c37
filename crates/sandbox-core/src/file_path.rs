//! Paths and names of files, which are bytes and not text.

use std::borrow::Borrow;
use std::ffi::{OsStr, OsString};
use std::fmt::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::escaped::{Symbol, symbols, write_symbol};

/// The path or the name of a file, in bytes as on Unix and in SFTP: usually UTF-8, but not always.
/// Every function that takes one also accepts `&str`, `String`, [`OsStr`] and [`Path`].
///
/// It is displayed for people, and escaped, because a name may have been chosen in a sandbox:
/// a backslash as `\\`, a byte that is not UTF-8 as `\xe9`, and a character that could mislead as
/// [`Escaped`](crate::Escaped) does. `{:?}` adds quotation marks.
///
/// In JSON it is a string with only these two escapes, so that every name can be read back: `\\` is
/// a backslash, and `\x` with two hexadecimal digits is a byte that is not UTF-8.
///
/// ```
/// use sandbox_core::FilePath;
///
/// let name = FilePath::from(b"caf\xe9");
/// assert_eq!(name.to_string(), r"caf\xe9");
/// assert_eq!(FilePath::from("data").join("é"), "data/é");
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct FilePath(Box<[u8]>);

impl FilePath {
    /// Returns the bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the text; `None` if it is not UTF-8.
    pub fn to_str(&self) -> Option<&str> {
        std::str::from_utf8(&self.0).ok()
    }

    /// Returns the path on this system; `None` if this system has no such path. On Unix it is never
    /// `None`.
    pub fn as_path(&self) -> Option<&Path> {
        #[cfg(unix)]
        {
            use std::os::unix::ffi::OsStrExt;
            Some(Path::new(OsStr::from_bytes(&self.0)))
        }
        #[cfg(not(unix))]
        {
            self.to_str().map(Path::new)
        }
    }

    /// Returns whether it has no bytes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns the number of bytes.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Returns the path of `name` in this directory. An empty path stands for no directory.
    #[must_use]
    pub fn join(&self, name: impl AsRef<[u8]>) -> Self {
        let slash: &[u8] = match self.0.last() {
            None | Some(b'/') => b"",
            Some(_) => b"/",
        };
        Self([&self.0, slash, name.as_ref()].concat().into())
    }

    /// Splits the path before its last component. The directory ends with a slash, or is empty.
    pub fn split_name(&self) -> (&[u8], &[u8]) {
        let name_at = self.0.iter().rposition(|byte| *byte == b'/');
        self.0.split_at(name_at.map_or(0, |slash| slash + 1))
    }

    /// Encodes the path for JSON.
    fn encode(&self) -> String {
        let mut text = String::with_capacity(self.len());
        for symbol in symbols(&self.0) {
            match symbol {
                Symbol::Char('\\') => text.push_str(r"\\"),
                Symbol::Char(character) => text.push(character),
                Symbol::Byte(byte) => text.push_str(&format!("\\x{byte:02x}")),
            }
        }
        text
    }

    /// Decodes what [`encode`](Self::encode) returned; `None` for any other escape.
    fn decode(text: &str) -> Option<Self> {
        let mut bytes = Vec::with_capacity(text.len());
        let mut parts = text.split('\\');
        bytes.extend_from_slice(parts.next()?.as_bytes());
        while let Some(part) = parts.next() {
            if part.is_empty() {
                // Two backslashes: the part after the second one is literal.
                bytes.push(b'\\');
                bytes.extend_from_slice(parts.next()?.as_bytes());
            } else {
                let (digits, rest) = part.strip_prefix('x')?.split_at_checked(2)?;
                let is_hex = digits.bytes().all(|digit| digit.is_ascii_hexdigit());
                let byte = u8::from_str_radix(digits, 16).ok().filter(|_| is_hex)?;
                bytes.push(byte);
                bytes.extend_from_slice(rest.as_bytes());
            }
        }
        Some(Self(bytes.into()))
    }
}

impl fmt::Display for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        symbols(&self.0).try_for_each(|symbol| match symbol {
            Symbol::Char('\\') => f.write_str(r"\\"),
            symbol => write_symbol(f, symbol),
        })
    }
}

impl fmt::Debug for FilePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_char('"')?;
        symbols(&self.0).try_for_each(|symbol| match symbol {
            Symbol::Char(character @ ('\\' | '"')) => write!(f, "\\{character}"),
            symbol => write_symbol(f, symbol),
        })?;
        f.write_char('"')
    }
}

impl Serialize for FilePath {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encode())
    }
}

impl<'de> Deserialize<'de> for FilePath {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::decode(&text).ok_or_else(|| {
            D::Error::custom(r"a file name has an escape that is neither \\ nor \x with two digits")
        })
    }
}

impl AsRef<[u8]> for FilePath {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Borrow<[u8]> for FilePath {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(unix)]
impl AsRef<Path> for FilePath {
    fn as_ref(&self) -> &Path {
        use std::os::unix::ffi::OsStrExt;
        Path::new(OsStr::from_bytes(&self.0))
    }
}

/// Converts from a type whose bytes a function returns.
macro_rules! convert_from {
    ($($from:ty => $bytes:expr),+ $(,)?) => {$(
        impl From<$from> for FilePath {
            fn from(path: $from) -> Self {
                let bytes: fn($from) -> Vec<u8> = $bytes;
                Self(bytes(path).into())
            }
        }
    )+};
}

convert_from! {
    &str => |path| path.into(),
    &String => |path| path.as_bytes().into(),
    String => String::into_bytes,
    &[u8] => <[u8]>::to_vec,
    Vec<u8> => |path| path,
    &FilePath => |path| path.0.to_vec(),
    &OsStr => |path| path.as_encoded_bytes().into(),
    OsString => OsString::into_encoded_bytes,
    &Path => |path| path.as_os_str().as_encoded_bytes().into(),
    PathBuf => |path| path.into_os_string().into_encoded_bytes(),
    &PathBuf => |path| path.as_os_str().as_encoded_bytes().into(),
}

impl<const N: usize> From<&[u8; N]> for FilePath {
    fn from(path: &[u8; N]) -> Self {
        Self(path.as_slice().into())
    }
}

impl PartialEq<str> for FilePath {
    fn eq(&self, text: &str) -> bool {
        *self.0 == *text.as_bytes()
    }
}

impl PartialEq<&str> for FilePath {
    fn eq(&self, text: &&str) -> bool {
        *self.0 == *text.as_bytes()
    }
}

impl PartialEq<String> for FilePath {
    fn eq(&self, text: &String) -> bool {
        *self.0 == *text.as_bytes()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_is_displayed_escaped() {
        let path = FilePath::from(b"a\x1b\\x41 \"\xe9\n");
        assert_eq!(path.to_string(), "a\\u{1b}\\\\x41 \"\\xe9\\n");
        assert_eq!(format!("{path:?}"), "\"a\\u{1b}\\\\x41 \\\"\\xe9\\n\"");
        assert_eq!(FilePath::from("文件 é").to_string(), "文件 é");
    }

    #[test]
    fn json_escapes_only_what_is_no_text() {
        let json = |path: &[u8]| serde_json::to_string(&FilePath::from(path)).unwrap();
        assert_eq!(json("é\"\n".as_bytes()), r#""é\"\n""#);
        assert_eq!(json(b"caf\xe9\\xe9"), r#""caf\\xe9\\\\xe9""#);
        for wrong in [
            r"\", r"\y", r"\x", r"\x4", r"\xzz", r"\x+1", r"a\\\", r"\xé",
        ] {
            assert_eq!(FilePath::decode(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn paths_are_joined_and_split_at_slashes() {
        let path = |text: &str| FilePath::from(text);
        assert_eq!(path("a").join("b"), "a/b");
        assert_eq!(path("a/").join("b"), "a/b");
        assert_eq!(path("").join("b"), "b");
        for (whole, directory, name) in [
            ("a", "", "a"),
            ("a/b", "a/", "b"),
            ("/b", "/", "b"),
            ("a/", "a/", ""),
        ] {
            let expected = (directory.as_bytes(), name.as_bytes());
            assert_eq!(path(whole).split_name(), expected);
        }
    }

    proptest! {
        #[test]
        fn every_path_survives_json(bytes in prop::collection::vec(
            prop_oneof![any::<u8>(), Just(b'\\'), Just(b'x'), Just(b'4')], 0..40,
        )) {
            let path = FilePath::from(bytes);
            let json = serde_json::to_string(&path).unwrap();
            prop_assert_eq!(serde_json::from_str::<FilePath>(&json).unwrap(), path);
        }
    }
}
