//! The home directory of the server under test, and the permissions of its thread.
//!
//! If the tests run as root, the server's thread and the threads that it starts give up root's
//! permissions on files. The files beside the home belong to root and must not change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, getuid, setfsgid, setfsuid};

use crate::world::temporary_directory;

/// The content of a file that only root may read.
pub(crate) const SECRET: &str = "only root may read this, 8f2b";
/// An account without permissions.
const NOBODY: u32 = 65_534;

pub(crate) struct Home {
    directory: tempfile::TempDir,
}

/// Whether the server has fewer permissions than the test.
pub(crate) fn is_confined() -> bool {
    getuid().is_root()
}

/// Gives up root's permissions on files, for this thread and every thread that it starts.
pub(crate) fn give_up_permissions() {
    if is_confined() {
        setfsgid(Gid::from_raw(NOBODY));
        setfsuid(Uid::from_raw(NOBODY));
        assert_eq!(
            setfsuid(Uid::from_raw(u32::MAX)).as_raw(),
            NOBODY,
            "the thread still has root's permissions"
        );
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self {
            directory: temporary_directory(),
        };
        fs::set_permissions(home.directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(home.outside_directory()).unwrap();
        fs::write(home.outside_directory().join("secret"), SECRET).unwrap();
        fs::set_permissions(
            home.outside_directory().join("secret"),
            Permissions::from_mode(0o600),
        )
        .unwrap();
        home.reset();
        home
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn outside_directory(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    /// Restores the state in which every case starts.
    pub(crate) fn reset(&self) {
        let home = self.path();
        remove(&home);
        fs::create_dir_all(home.join("d")).unwrap();
        for (name, content) in [("f", "a file, not a long one"), ("d/g", "")] {
            fs::write(home.join(name), content).unwrap();
        }
        symlink("f", home.join("l")).unwrap();
        symlink("../outside/secret", home.join("link")).unwrap();
        if is_confined() {
            for name in ["", "d", "f", "d/g"] {
                chown(home.join(name), Some(NOBODY), Some(NOBODY)).unwrap();
            }
        }
    }

    /// Asserts that root's files are unchanged.
    pub(crate) fn check(&self) {
        if !is_confined() {
            return;
        }
        let mut entries: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        entries.sort();
        assert_eq!(
            entries,
            ["home", "outside"],
            "something was created outside"
        );
        let secret = self.outside_directory().join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
        assert_eq!(
            secret.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(
            fs::read_dir(self.outside_directory()).unwrap().count(),
            1,
            "something was created outside"
        );
    }
}

/// Removes a directory with all its content, also if its permissions forbid it.
fn remove(path: &Path) {
    let Ok(metadata) = path.symlink_metadata() else {
        return;
    };
    if !metadata.is_dir() {
        return fs::remove_file(path).unwrap();
    }
    fs::set_permissions(path, Permissions::from_mode(0o700)).unwrap();
    for entry in fs::read_dir(path).unwrap() {
        remove(&entry.unwrap().path());
    }
    fs::remove_dir(path).unwrap();
}
