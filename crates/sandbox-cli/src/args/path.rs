//! The arguments of `cp`: `PATH`, `ID:PATH` or `-`.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use sandbox::FilePath;

use crate::args::id;

/// The source or destination of a copy.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum CopyPath {
    /// Standard input or output.
    Stream,
    /// A path on this machine.
    Local(PathBuf),
    /// The id of a sandbox, or the beginning of one, and a path in it.
    Remote(OsString, FilePath),
}

/// Parses an argument of `cp`. The part before the first colon is an id, unless the argument begins
/// with a dot or has a slash before the colon.
///
/// # Errors
///
/// If the argument is empty or has an invalid id.
pub(crate) fn parse_copy_path(text: &OsStr) -> Result<CopyPath> {
    if text == "-" {
        return Ok(CopyPath::Stream);
    }
    let bytes = text.as_encoded_bytes();
    let colon = bytes.iter().position(|byte| *byte == b':');
    let slash = bytes
        .iter()
        .position(|byte| *byte == b'/')
        .unwrap_or(bytes.len());
    let Some(colon) = colon.filter(|colon| *colon < slash && bytes[0] != b'.') else {
        if text.is_empty() {
            bail!("the path is empty; write . for the current directory");
        }
        return Ok(CopyPath::Local(text.into()));
    };
    let shown = text.to_string_lossy();
    let id = id::parse(OsStr::new(&*String::from_utf8_lossy(&bytes[..colon])))
        .with_context(|| format!("if {shown:?} is a local file, write it as ./{shown}"))?;
    let path = match &bytes[colon + 1..] {
        b"" => ".".into(),
        path => FilePath::from(path),
    };
    Ok(CopyPath::Remote(id.as_str().into(), path))
}

/// Whether the path means the content of a directory and not the directory itself, as `dir/.` does.
pub(crate) fn is_content_of_directory(path: &FilePath) -> bool {
    let bytes = path.as_bytes();
    bytes == b"." || bytes == b".." || bytes.ends_with(b"/.") || bytes.ends_with(b"/..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_with_an_id_is_remote() {
        let remote = |id: &str, path: &str| CopyPath::Remote(id.into(), path.into());
        for (text, expected) in [
            ("sbx-1:a/b:c", remote("sbx-1", "a/b:c")),
            ("sbx-1:", remote("sbx-1", ".")),
            ("sbx-1:/etc", remote("sbx-1", "/etc")),
            ("./sbx-1:a", CopyPath::Local("./sbx-1:a".into())),
            ("/a:b", CopyPath::Local("/a:b".into())),
            ("dir/a:b", CopyPath::Local("dir/a:b".into())),
            (".a:b", CopyPath::Local(".a:b".into())),
            ("-", CopyPath::Stream),
            ("./-", CopyPath::Local("./-".into())),
            ("plain", CopyPath::Local("plain".into())),
        ] {
            assert_eq!(
                parse_copy_path(OsStr::new(text)).unwrap(),
                expected,
                "{text}"
            );
        }
    }

    #[test]
    fn invalid_paths_are_rejected_with_a_reason() {
        for (text, word) in [
            ("", "empty"),
            (":x", "./:x"),
            ("Report:final", "./Report:final"),
        ] {
            let error = format!("{:#}", parse_copy_path(OsStr::new(text)).unwrap_err());
            assert!(error.contains(word), "{error}");
        }
        use std::os::unix::ffi::OsStrExt;
        assert_eq!(
            parse_copy_path(OsStr::from_bytes(b"sbx-1:\xff")).unwrap(),
            CopyPath::Remote("sbx-1".into(), FilePath::from(b"\xff"))
        );
        assert!(parse_copy_path(OsStr::from_bytes(b"\xff\xff:a")).is_err());
        assert!(matches!(
            parse_copy_path(OsStr::from_bytes(b"\xff/a:b")).unwrap(),
            CopyPath::Local(_)
        ));
    }

    #[test]
    fn a_dot_at_the_end_means_the_content_of_the_directory() {
        for (path, content) in [
            (".", true),
            ("a/.", true),
            ("..", true),
            ("a", false),
            ("a/", false),
            ("a.", false),
        ] {
            assert_eq!(is_content_of_directory(&path.into()), content, "{path}");
        }
    }
}
