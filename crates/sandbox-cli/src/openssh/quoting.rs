//! Words of an ssh_config(5).

use std::ffi::OsStr;
use std::path::Path;

use anyhow::{Result, bail};

/// One word for a POSIX shell within an ssh_config.
pub(super) fn word(text: &OsStr) -> Result<String> {
    let text = plain(text)?;
    let harmless = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+:,@=".contains(&byte);
    let shown = text.replace('%', "%%");
    if !text.is_empty() && text.bytes().all(harmless) {
        return Ok(shown);
    }
    Ok(format!("'{}'", shown.replace('\'', r"'\''")))
}

/// A path as an ssh_config's argument.
pub(super) fn path(path: &Path) -> Result<String> {
    let text = plain(path.as_os_str())?;
    // There is no way to write these so that every version reads them back: of %% in an Include or a
    // UserKnownHostsFile, older ones do not make %.
    if text.contains(['"', '\\', '%']) || text.contains("${") {
        bail!(
            "the path {text:?} cannot be written in an ssh_config: it has a quote, a backslash, % or ${{ in it"
        );
    }
    Ok(format!("\"{text}\""))
}

fn plain(text: &OsStr) -> Result<&str> {
    match text.to_str() {
        Some(text) if !text.contains(['\n', '\r', '\0']) => Ok(text),
        _ => bail!(
            "{:?} cannot be written in an ssh_config: it is no plain text",
            text.to_string_lossy()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell_and_ssh() {
        for (text, written) in [
            ("/usr/bin/sandbox", "/usr/bin/sandbox"),
            ("/a b/it's", r"'/a b/it'\''s'"),
            ("100%", "'100%%'"),
            ("$(x)`y`", "'$(x)`y`'"),
            ("", "''"),
        ] {
            assert_eq!(word(OsStr::new(text)).unwrap(), written);
        }
        assert!(word(OsStr::new("a\nProxyCommand x")).is_err());
    }

    #[test]
    fn paths_that_cannot_be_written_are_refused() {
        assert_eq!(
            path(Path::new("/home/a b/it's")).unwrap(),
            "\"/home/a b/it's\""
        );
        for bad in ["/100%", "/a\"b", "/${HOME}", "/a\nb", "/a\\b"] {
            assert!(path(Path::new(bad)).is_err(), "{bad}");
        }
    }
}
