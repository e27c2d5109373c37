//! One side of a copy, as somebody writes it.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::args::id;

/// One side of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Side {
    /// Standard input or output.
    Stream,
    Local(PathBuf),
    /// The beginning of an id, and a path.
    Remote(OsString, String),
}

/// What stands before the first colon is an id, unless a slash or a dot comes first.
///
/// # Errors
///
/// When it is neither a path nor an id and a path.
pub(crate) fn side(text: &OsStr) -> Result<Side> {
    if text == "-" {
        return Ok(Side::Stream);
    }
    let bytes = text.as_encoded_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let slash = bytes
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(bytes.len());
    let Some(colon) = colon.filter(|colon| *colon < slash && bytes[0] != b'.') else {
        if text.is_empty() {
            bail!("a path is empty: write . for the current directory");
        }
        return Ok(Side::Local(text.into()));
    };
    let shown = text.to_string_lossy();
    let id = id::parse(OsStr::new(&*String::from_utf8_lossy(&bytes[..colon])))
        .with_context(|| format!("if {shown:?} is a local file, write it as ./{shown}"))?;
    let whole = text
        .to_str()
        .with_context(|| format!("the path {shown:?} is not UTF-8, which SFTP cannot carry"))?;
    let path = &whole[colon + 1..];
    Ok(Side::Remote(
        id.as_str().into(),
        if path.is_empty() {
            ".".into()
        } else {
            path.into()
        },
    ))
}

/// `dir/.` and the like: what is in it, and not the directory itself.
pub(crate) fn means_content(path: &OsStr) -> bool {
    let bytes = path.as_encoded_bytes();
    bytes == b"." || bytes == b".." || bytes.ends_with(b"/.") || bytes.ends_with(b"/..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_side_with_an_id_is_remote() {
        let remote = |id: &str, path: &str| Side::Remote(id.into(), path.into());
        for (text, expected) in [
            ("sbx-1:a/b:c", remote("sbx-1", "a/b:c")),
            ("sbx-1:", remote("sbx-1", ".")),
            ("sbx-1:/etc", remote("sbx-1", "/etc")),
            ("./sbx-1:a", Side::Local("./sbx-1:a".into())),
            ("/a:b", Side::Local("/a:b".into())),
            ("dir/a:b", Side::Local("dir/a:b".into())),
            (".a:b", Side::Local(".a:b".into())),
            ("-", Side::Stream),
            ("./-", Side::Local("./-".into())),
            ("plain", Side::Local("plain".into())),
        ] {
            assert_eq!(side(OsStr::new(text)).unwrap(), expected, "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_explained() {
        for (text, word) in [
            ("", "empty"),
            (":x", "./:x"),
            ("Report:final", "./Report:final"),
        ] {
            let error = format!("{:#}", side(OsStr::new(text)).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        use std::os::unix::ffi::OsStrExt;
        let error = side(OsStr::from_bytes(b"sbx-1:\xff")).unwrap_err();
        assert!(error.to_string().contains("not UTF-8"), "{error}");
        assert!(side(OsStr::from_bytes(b"\xff\xff:a")).is_err());
        assert!(matches!(
            side(OsStr::from_bytes(b"\xff/a:b")).unwrap(),
            Side::Local(_)
        ));
    }

    #[test]
    fn a_dot_at_the_end_means_the_content() {
        for (path, content) in [
            (".", true),
            ("a/.", true),
            ("..", true),
            ("a", false),
            ("a/", false),
            ("a.", false),
        ] {
            assert_eq!(means_content(OsStr::new(path)), content, "{path}");
        }
    }
}
