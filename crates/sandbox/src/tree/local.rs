//! Writing below a directory of this machine, and nowhere else, whatever the names and links.

use std::io;
use std::sync::Arc;

use cap_std::fs::{Dir, OpenOptions};
use sandbox_core::FileInfo;

use super::below;
use crate::copy;

/// A file that is not complete yet, and goes away unless it is finished.
pub(super) struct Temporary {
    top: Arc<Dir>,
    path: Option<String>,
    file: std::fs::File,
}

impl Temporary {
    /// Made exclusively beside `name`; blocks, as all here does.
    pub(super) fn create(top: &Arc<Dir>, name: &str) -> io::Result<Self> {
        // The real name may be 255 bytes long already, so it is no part of the temporary one.
        let parent = name.rsplit_once('/').map_or("", |(parent, _)| parent);
        let random = sandbox_core::Uid::generate().map_err(io::Error::other)?;
        let path = below(parent, &format!(".sandbox-{random}"));
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

    /// Gives it its attributes and its name.
    pub(super) fn finish(mut self, info: &FileInfo, name: &str) -> io::Result<()> {
        copy::finish(&self.file, info)?;
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
            tracing::warn!(path, %error, "a temporary file could not be removed");
        }
    }
}

/// Makes a directory, or finds a real one there.
pub(super) fn make_directory(top: &Dir, name: &str) -> io::Result<()> {
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

/// Makes a link, in place of one that is there.
pub(super) fn make_link(top: &Dir, target: &str, name: &str) -> io::Result<()> {
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
            "symbolic links are not made on this system",
        ))
    }
}

/// Whether a link at `name`, relative to the top, could lead out of it, whatever else is there.
///
/// It goes up only at its beginning, and no further than there are directories above it, which
/// are real ones. A step up after a name is refused too: that name may be a link itself, as in
/// `d/x -> ..` with `y -> d/x/..`.
pub(super) fn leads_out(name: &str, target: &str) -> bool {
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
    fn links_that_lead_out_are_seen() {
        for (name, target) in [
            ("a", "/etc"),
            ("a", ".."),
            ("a", "../x"),
            ("d/a", "../../x"),
            ("a", "b/../../x"),
            ("a", "d/x/.."),
            ("a", ""),
        ] {
            assert!(leads_out(name, target), "{name} -> {target}");
        }
        for (name, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("a", "./b//c"),
            ("d/e/a", "../../b"),
        ] {
            assert!(!leads_out(name, target), "{name} -> {target}");
        }
    }
}
