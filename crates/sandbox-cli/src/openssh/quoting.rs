//! Quotes words and paths for ssh_config(5).

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};

/// Quotes one word of a `ProxyCommand`, for ssh and then for a POSIX shell.
///
/// # Errors
///
/// If the text is not UTF-8 or has a line break.
pub(super) fn quote_word(text: &OsStr) -> Result<String> {
    let text = require_plain_text(text)?;
    let is_safe = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@=".contains(&byte);
    let escaped = text.replace('%', "%%");
    if !text.is_empty() && text.bytes().all(is_safe) {
        return Ok(escaped);
    }
    Ok(format!("'{}'", escaped.replace('\'', r"'\''")))
}

/// Quotes a path as the argument of a keyword.
///
/// # Errors
///
/// If the path has a character that not all versions of OpenSSH read back.
pub(super) fn quote_path(path: &Path) -> Result<String> {
    let text = require_plain_text(path.as_os_str())?;
    // These cannot be written so that every version reads them back: older ones do not replace %%
    // by % in an Include or a UserKnownHostsFile.
    if text.contains(['"', '\\', '%']) || text.contains("${") {
        bail!(
            "the path {text:?} cannot be written in an ssh_config: it contains a quote, a backslash, % or ${{"
        );
    }
    Ok(format!("\"{text}\""))
}

fn require_plain_text(text: &OsStr) -> Result<&str> {
    match text.to_str() {
        Some(text) if !text.contains(['\n', '\r', '\0']) => Ok(text),
        _ => bail!(
            "{:?} cannot be written in an ssh_config: it is not UTF-8 or has a line break",
            text.to_string_lossy()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoted_words_survive_ssh_and_a_shell() {
        for (text, quoted) in [
            ("/usr/bin/sandbox", "/usr/bin/sandbox"),
            ("/a b/it's", r"'/a b/it'\''s'"),
            ("100%", "'100%%'"),
            ("$(x)`y`", "'$(x)`y`'"),
            ("", "''"),
        ] {
            assert_eq!(quote_word(OsStr::new(text)).unwrap(), quoted);
        }
        assert!(quote_word(OsStr::new("a\nProxyCommand x")).is_err());
    }

    #[test]
    fn paths_that_cannot_be_quoted_are_rejected() {
        assert_eq!(
            quote_path(Path::new("/home/a b/it's")).unwrap(),
            "\"/home/a b/it's\""
        );
        for bad in ["/100%", "/a\"b", "/${HOME}", "/a\nb", "/a\\b"] {
            assert!(quote_path(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
