//! Writes below one local directory and nowhere else, whatever names and links a sandbox sends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use sandbox_core::{FileInfo, FilePath};

use crate::transfer::file::{local_path, set_attributes};

/// An incomplete file, which is removed when it is dropped before `finish`.
pub(super) struct Temporary {
    top: Arc<Dir>,
    path: Option<PathBuf>,
    file: std::fs::File,
}

impl Temporary {
    /// Creates a new file beside `name`. All functions of this file block.
    pub(super) fn create(top: &Arc<Dir>, name: &FilePath) -> io::Result<Self> {
        // The temporary name does not contain the real one, which may already be 255 bytes long.
        let random = sandbox_core::Uid::generate().map_err(io::Error::other)?;
        let path = local_path(name)?.with_file_name(format!(".sandbox-{random}"));
        let file = top
            .open_with(&path, OpenOptions::new().write(true).create_new(true))?
            .into_std();
        Ok(Self {
            top: Arc::clone(top),
            path: Some(path),
            file,
        })
    }

    pub(super) fn file(&self) -> &std::fs::File {
        &self.file
    }

    /// Sets the attributes of the file, and renames it to `name`.
    pub(super) fn finish(mut self, info: &FileInfo, name: &FilePath) -> io::Result<()> {
        set_attributes(&self.file, info)?;
        if let Some(path) = &self.path {
            self.top.rename(path, &self.top, local_path(name)?)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        if let Some(path) = self.path.take()
            && let Err(error) = self.top.remove_file(&path)
        {
            tracing::warn!(path = ?path, %error, "temporary file not removed");
        }
    }
}

/// Creates a directory, and accepts an existing one that is no link.
pub(super) fn create_directory(top: &Dir, name: &FilePath) -> io::Result<()> {
    let name = local_path(name)?;
    match top.create_dir(name) {
        Err(error)
            if error.kind() == io::ErrorKind::AlreadyExists
                && top.symlink_metadata(name)?.is_dir() =>
        {
            Ok(())
        }
        result => result,
    }
}

/// Creates a symbolic link, and replaces an existing one.
pub(super) fn create_link(top: &Dir, target: &FilePath, name: &FilePath) -> io::Result<()> {
    let name = local_path(name)?;
    if top
        .symlink_metadata(name)
        .is_ok_and(|there| there.is_symlink())
    {
        top.remove_file(name)?;
    }
    #[cfg(unix)]
    {
        top.symlink(local_path(target)?, name)
    }
    #[cfg(not(unix))]
    {
        let _ = (target, name);
        Err(io::Error::other(
            "symbolic links are not supported on this system",
        ))
    }
}

/// Returns whether a link at `name`, relative to the top, could lead out of the top, whatever other
/// links exist.
///
/// A safe target has `..` only at its beginning, and at most as often as there are directories
/// above the link, which are real ones. `..` after a name is refused, because that name may be a
/// link itself, as in `d/x -> ..` with `y -> d/x/..`.
pub(super) fn escapes(name: &FilePath, target: &FilePath) -> bool {
    let target = target.as_bytes();
    if target.is_empty() || target.starts_with(b"/") || target.contains(&0) {
        return true;
    }
    let is_slash = |byte: &u8| *byte == b'/';
    let mut parts = target
        .split(is_slash)
        .filter(|part| !matches!(*part, b"" | b"."))
        .peekable();
    let mut up = 0;
    while parts.next_if(|part| *part == b"..").is_some() {
        up += 1;
    }
    let depth = name.as_bytes().split(is_slash).count() - 1;
    up > depth || parts.any(|part| part == b"..")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_that_lead_out_are_recognised() {
        for (name, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("a", "../x"),
            ("d/a", "../../x"),
            ("a", "b/../../x"),
            ("a", "d/x/.."),
            ("a", ""),
        ] {
            assert!(escapes(&name.into(), &target.into()), "{name} -> {target}");
        }
        for (name, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("a", "./b//c"),
            ("d/e/a", "../../b"),
        ] {
            assert!(!escapes(&name.into(), &target.into()), "{name} -> {target}");
        }
    }
}
