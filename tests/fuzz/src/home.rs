//! The home directory of a server that any bytes are sent to, and the rights of its thread.
//!
//! Where the tests run as root, the server's thread gives up root's rights over files, and so do
//! the threads that it starts; what lies beside the home belongs to root and must stay as it is.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Uid, getuid, setfsgid, setfsuid};

/// What only root may read.
pub(crate) const SECRET: &str = "only root may read this, 8f2b";
/// An account without rights.
const NOBODY: u32 = 65_534;

pub(crate) struct Home {
    directory: tempfile::TempDir,
}

/// Whether the server has fewer rights than the test.
pub(crate) fn is_confined() -> bool {
    getuid().is_root()
}

/// Gives this thread's rights over files up, and those of every thread that it starts.
pub(crate) fn give_up_rights() {
    if is_confined() {
        setfsgid(Gid::from_raw(NOBODY));
        setfsuid(Uid::from_raw(NOBODY));
        assert_eq!(
            setfsuid(Uid::from_raw(u32::MAX)).as_raw(),
            NOBODY,
            "the rights were kept"
        );
    }
}

impl Home {
    pub(crate) fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let home = Self {
            directory: tempfile::tempdir_in(parent).unwrap(),
        };
        fs::set_permissions(home.directory.path(), Permissions::from_mode(0o755)).unwrap();
        fs::create_dir(home.outside()).unwrap();
        fs::write(home.outside().join("secret"), SECRET).unwrap();
        fs::set_permissions(home.outside().join("secret"), Permissions::from_mode(0o600)).unwrap();
        home.begin();
        home
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path().join("home")
    }

    fn outside(&self) -> PathBuf {
        self.directory.path().join("outside")
    }

    /// As it is for every case.
    pub(crate) fn begin(&self) {
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

    /// What is not the user's is as it was.
    pub(crate) fn check(&self) {
        if !is_confined() {
            return;
        }
        let mut there: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        there.sort();
        assert_eq!(there, ["home", "outside"], "something was made outside");
        let secret = self.outside().join("secret");
        assert_eq!(fs::read_to_string(&secret).unwrap(), SECRET);
        assert_eq!(
            secret.metadata().unwrap().permissions().mode() & 0o7777,
            0o600
        );
        assert_eq!(
            fs::read_dir(self.outside()).unwrap().count(),
            1,
            "something was made outside"
        );
    }
}

/// Removes a directory with all that is in it, whatever its permissions are.
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
