//! Writes below one local directory and nowhere else, whatever names and links a sandbox sends.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use cap_std::fs::{Dir, DirBuilder, OpenOptions};
use sandbox_core::{FileInfo, FilePath};

#[cfg(unix)]
use super::FILLABLE;
use crate::transfer::file::{LOCAL_MODE, local_path, set_attributes};
#[cfg(unix)]
use crate::transfer::local_target::keep_owner_ids;

/// An incomplete file, which is removed when it is dropped before `finish`.
pub(super) struct Temporary {
    top: Arc<Dir>,
    path: Option<PathBuf>,
    file: std::fs::File,
}

impl Temporary {
    /// Creates a new file beside `name`, which only this user can read until it is finished. All
    /// functions of this file block.
    ///
    /// # Errors
    ///
    /// Also if there is a device, a FIFO or a socket, which a tree does not replace.
    pub(super) fn create(top: &Arc<Dir>, name: &FilePath) -> io::Result<Self> {
        let name = local_path(name)?;
        let replaced = top.symlink_metadata(name).ok();
        if let Some(replaced) = &replaced
            && !(replaced.is_file() || replaced.is_symlink() || replaced.is_dir())
        {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                "a device, a FIFO or a socket is there, which is not replaced",
            ));
        }
        // The temporary name does not contain the real one, which may already be 255 bytes long.
        let random = sandbox_core::Uid::generate().map_err(io::Error::other)?;
        let path = name.with_file_name(format!(".sandbox-{random}"));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        #[cfg(unix)]
        cap_std::fs::OpenOptionsExt::mode(&mut options, 0o600);
        let file = top.open_with(&path, &options)?.into_std();
        let temporary = Self {
            top: Arc::clone(top),
            path: Some(path),
            file,
        };
        #[cfg(unix)]
        if let Some(replaced) = replaced.filter(cap_std::fs::Metadata::is_file) {
            use cap_std::fs::MetadataExt;
            keep_owner_ids(&temporary.file, replaced.uid(), replaced.gid());
        }
        Ok(temporary)
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

/// Creates a directory, and accepts an existing one that is no link. Its owner can fill it, and
/// other users can do no more than with the finished one.
pub(super) fn create_directory(top: &Dir, name: &FilePath, info: &FileInfo) -> io::Result<()> {
    let name = local_path(name)?;
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    cap_std::fs::DirBuilderExt::mode(&mut builder, info.mode & LOCAL_MODE | FILLABLE);
    #[cfg(not(unix))]
    let _ = info;
    match top.create_dir_with(name, &builder) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let existing = top.symlink_metadata(name)?;
            if !existing.is_dir() {
                return Err(error);
            }
            #[cfg(unix)]
            {
                use cap_std::fs::PermissionsExt;
                let mode = existing.permissions().mode();
                if mode & FILLABLE != FILLABLE {
                    // If this is refused, so are the files, each with its reason.
                    let mode = cap_std::fs::Permissions::from_mode(mode | FILLABLE);
                    top.set_permissions(name, mode).ok();
                }
            }
            Ok(())
        }
        result => result,
    }
}

/// Sets the permission bits and the modification time of a directory as in the sandbox. A
/// set-group-id bit of its own, which it may have inherited here, stays.
pub(super) fn finish_directory(top: &Dir, name: &FilePath, info: &FileInfo) -> io::Result<()> {
    // Opened as a file: the handle of a `Dir` is only for paths below it.
    let directory = if name.is_empty() {
        top.open(".")?
    } else {
        top.open(local_path(name)?)?
    };
    set_attributes(&directory.into_std(), info)
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
