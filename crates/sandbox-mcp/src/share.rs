//! The directory of this machine that the operator shares: files go in and out of it, and nothing leads out of it.

use std::io;
use std::path::Path;
use std::sync::Arc;

use cap_std::ambient_authority;
use cap_std::fs::{Dir, File, OpenOptions};

use crate::error::McpError;
use crate::failure::Failure;

/// A shared directory. Paths are resolved inside it by cap-std (openat2(2) with `RESOLVE_BENEATH` on Linux), so neither
/// `..` nor an absolute path nor a symbolic link, also one that appears meanwhile, leads out.
#[derive(Clone)]
pub(crate) struct Share {
    dir: Arc<Dir>,
}

/// A file that is written under a temporary name. Dropped before it is kept, it is removed.
pub(crate) struct NewFile {
    dir: Arc<Dir>,
    temporary: String,
    target: String,
    is_kept: bool,
}

impl Share {
    /// Opens the directory.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub(crate) fn open(path: &Path) -> Result<Self, McpError> {
        let dir = Dir::open_ambient_dir(path, ambient_authority())
            .map_err(|source| McpError::file("open the shared directory", path, source))?;
        Ok(Self { dir: Arc::new(dir) })
    }

    /// Opens a regular file to read, and returns its size. It blocks.
    ///
    /// # Errors
    ///
    /// If it is not a regular file in the directory.
    pub(crate) fn open_file(&self, path: &str) -> Result<(std::fs::File, u64), Failure> {
        let failed = |error: io::Error| explain(path, "read", &error);
        let mut options = OpenOptions::new();
        options.read(true);
        // A FIFO without a writer must not block. A regular file is read as ever.
        #[cfg(target_os = "linux")]
        cap_std::fs::OpenOptionsExt::custom_flags(&mut options, O_NONBLOCK);
        let file = self.dir.open_with(path, &options).map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(Failure::new(format!(
                "{path:?} in the shared directory is not a regular file; name a file"
            )));
        }
        Ok((File::into_std(file), metadata.len()))
    }

    /// Begins to write a file. It blocks.
    ///
    /// # Errors
    ///
    /// If there is such a file and it is not to be replaced, or it cannot be created.
    pub(crate) fn create_file(
        &self,
        path: &str,
        replace: bool,
    ) -> Result<(std::fs::File, NewFile), Failure> {
        let failed = |error: io::Error| explain(path, "write", &error);
        match self.dir.symlink_metadata(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(failed(error)),
            Ok(metadata) if !metadata.is_file() => {
                return Err(Failure::new(format!(
                    "{path:?} in the shared directory is a directory, a link or a device; choose another name"
                )));
            }
            Ok(_) if !replace => {
                return Err(Failure::new(format!(
                    "{path:?} exists in the shared directory; choose another name, or set `replace`"
                )));
            }
            Ok(_) => {}
        }
        let (parent, name) = split(path);
        if name.is_empty() || name == "." || name == ".." {
            return Err(Failure::new(format!("{path:?} is not the name of a file")));
        }
        let mut random = [0_u8; 8];
        getrandom::fill(&mut random)
            .map_err(|error| Failure::new(format!("no randomness: {error}")))?;
        let temporary = format!("{parent}.sandbox-mcp-{:016x}", u64::from_ne_bytes(random));
        let mut options = OpenOptions::new();
        options.write(true).create_new(true);
        let file = self.dir.open_with(&temporary, &options).map_err(failed)?;
        let new = NewFile {
            dir: Arc::clone(&self.dir),
            temporary,
            target: path.to_owned(),
            is_kept: false,
        };
        Ok((File::into_std(file), new))
    }
}

impl NewFile {
    /// Gives the file its name. It blocks. A file that appeared there meanwhile is replaced only if `replace` is set.
    ///
    /// # Errors
    ///
    /// If it cannot be renamed; it is then removed.
    pub(crate) fn keep(mut self, replace: bool) -> Result<(), Failure> {
        let failed = |error: io::Error| explain(&self.target, "write", &error);
        if replace {
            self.dir
                .rename(&self.temporary, &self.dir, &self.target)
                .map_err(failed)?;
            self.is_kept = true;
        } else {
            // Unlike a rename, this fails if the name is taken. The temporary name goes when this is dropped.
            self.dir
                .hard_link(&self.temporary, &self.dir, &self.target)
                .map_err(failed)?;
        }
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.is_kept
            && let Err(error) = self.dir.remove_file(&self.temporary)
        {
            tracing::warn!(file = %self.temporary, %error, "temporary file not removed");
        }
    }
}

/// `O_NONBLOCK` of open(2) on the architectures that Rust's standard library and this workspace are built for.
#[cfg(target_os = "linux")]
const O_NONBLOCK: i32 = 0o4000;

/// Splits a path before its last component. The directory ends with a slash, or is empty.
fn split(path: &str) -> (&str, &str) {
    path.split_at(path.rfind('/').map_or(0, |slash| slash + 1))
}

fn explain(path: &str, action: &str, error: &io::Error) -> Failure {
    let hint = match error.kind() {
        io::ErrorKind::PermissionDenied => "; only files inside the shared directory can be used",
        io::ErrorKind::NotFound => "; paths are relative to the shared directory",
        _ => "",
    };
    Failure::new(format!(
        "cannot {action} {path:?} in the shared directory: {error}{hint}"
    ))
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

    use std::io::{Read, Write};
    use std::os::unix::fs::symlink;

    use super::*;

    fn share() -> (tempfile::TempDir, Share) {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("share")).unwrap();
        std::fs::write(dir.path().join("secret"), "hush").unwrap();
        let share = Share::open(&dir.path().join("share")).unwrap();
        (dir, share)
    }

    #[test]
    fn nothing_leads_out() {
        let (dir, share) = share();
        let inside = dir.path().join("share");
        symlink("../secret", inside.join("link")).unwrap();
        symlink("..", inside.join("up")).unwrap();
        symlink("/", inside.join("root")).unwrap();
        let absolute = dir.path().join("secret").display().to_string();
        for path in [
            "../secret",
            "link",
            "up/secret",
            "root/etc/passwd",
            "./../secret",
            "up/../../secret",
            "/etc/passwd",
            &absolute,
            "",
            ".",
            "a\0b",
        ] {
            assert!(share.open_file(path).is_err(), "{path:?}");
        }
        for path in [
            "../new",
            "up/new",
            "root/tmp/new",
            "link",
            "/tmp/new",
            "",
            ".",
            "..",
            "up",
            "a/../../new",
        ] {
            for replace in [false, true] {
                assert!(share.create_file(path, replace).is_err(), "{path:?}");
            }
        }
        assert_eq!(
            std::fs::read_to_string(dir.path().join("secret")).unwrap(),
            "hush"
        );
        let left: Vec<_> = std::fs::read_dir(dir.path()).unwrap().collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let (dir, share) = share();
        let path = dir.path().join("share/new");
        let (mut file, new) = share.create_file("new", false).unwrap();
        file.write_all(b"half").unwrap();
        drop(new);
        assert!(!path.exists());
        let (mut file, new) = share.create_file("new", false).unwrap();
        file.write_all(b"whole").unwrap();
        new.keep(false).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "whole");
        assert!(share.create_file("new", false).is_err());
        let (mut file, new) = share.create_file("new", true).unwrap();
        file.write_all(b"other").unwrap();
        new.keep(true).unwrap();
        let (mut file, size) = share.open_file("new").unwrap();
        let mut text = String::new();
        file.read_to_string(&mut text).unwrap();
        assert_eq!((text.as_str(), size), ("other", 5));
        // One that appears meanwhile is not replaced.
        let (_, new) = share.create_file("late", false).unwrap();
        std::fs::write(dir.path().join("share/late"), "first").unwrap();
        assert!(new.keep(false).is_err());
        let names: Vec<_> = std::fs::read_dir(dir.path().join("share"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "{names:?}");
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn only_regular_files_are_read() {
        let (dir, share) = share();
        std::fs::create_dir(dir.path().join("share/dir")).unwrap();
        let _socket =
            std::os::unix::net::UnixListener::bind(dir.path().join("share/socket")).unwrap();
        let status = std::process::Command::new("mkfifo")
            .arg(dir.path().join("share/fifo"))
            .status()
            .unwrap();
        assert!(status.success());
        for path in ["dir", "socket", "fifo"] {
            assert!(share.open_file(path).is_err(), "{path}");
        }
    }
}
