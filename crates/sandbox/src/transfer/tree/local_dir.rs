//! Writes below one local directory and nowhere else, whatever names and links a sandbox sends.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use sandbox_core::FileInfo;

use crate::handle::files::join_path;
use crate::transfer::file::set_attributes;

/// An incomplete file, which is removed when it is dropped before `finish`.
pub(super) struct Temporary {
    top: Arc<Dir>,
    path: Option<String>,
    file: std::fs::File,
}

impl Temporary {
    /// Creates a new file beside `name`. All functions of this file block.
    pub(super) fn create(top: &Arc<Dir>, name: &str) -> io::Result<Self> {
        // The temporary name does not contain the real one, which may already be 255 bytes long.
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let random = sandbox_core::Uid::generate().map_err(io::Error::other)?;
        let path = join_path(parent, &format!(".sandbox-{random}"));
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
    pub(super) fn finish(mut self, info: &FileInfo, name: &str) -> io::Result<()> {
        set_attributes(&self.file, info)?;
        if let Some(path) = &self.path {
            self.top.rename(path, &self.top, name)?;
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
            tracing::warn!(path, %error, "temporary file not removed");
        }
    }
}

/// Creates a directory, and accepts an existing one that is no link.
pub(super) fn create_directory(top: &Dir, name: &str) -> io::Result<()> {
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
pub(super) fn create_link(top: &Dir, target: &str, name: &str) -> io::Result<()> {
    if top
        .symlink_metadata(name)
        .is_ok_and(|there| there.is_symlink())
    {
        top.remove_file(name)?;
    }
    #[cfg(unix)]
    {
        top.symlink(target, name)
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
pub(super) fn escapes(name: &str, target: &str) -> bool {
    if target.is_empty() || target.starts_with('/') || target.contains('\0') {
        return true;
    }
    let mut parts = target
        .split('/')
        .filter(|part| !matches!(*part, "" | "."))
        .peekable();
    let mut up = 0;
    while parts.next_if_eq(&"..").is_some() {
        up += 1;
    }
    up > name.matches('/').count() || parts.any(|part| part == "..")
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
            assert!(escapes(name, target), "{name} -> {target}");
        }
        for (name, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("a", "./b//c"),
            ("d/e/a", "../../b"),
        ] {
            assert!(!escapes(name, target), "{name} -> {target}");
        }
    }
}
