//! A directory that is copied out: whatever the server shows, nothing else is written to.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox::TreeLimits;

use crate::world::{World, check_error};

const BYTES: u64 = 4000;
const ENTRIES: u64 = 60;
const SECRET: &str = "not to be touched";

pub(crate) fn target(bytes: &[u8]) {
    let place = Place::new();
    World::run(bytes, |case, world| {
        let out = place.out.clone();
        async move {
            let ours = case.lock().unwrap().input.choice(2) == 1;
            let sandbox = world.sandbox(ours).await;
            let mut limits = TreeLimits::default();
            (limits.bytes, limits.entries, limits.depth) = (BYTES, ENTRIES, 6);
            if let Err(error) = sandbox
                .transfer()
                .limits(limits)
                .download_dir("d", &out)
                .await
            {
                check_error(&error);
            }
        }
    });
    place.check();
}

/// A directory to copy to, with something of the user's beside it and in it.
struct Place {
    _directory: tempfile::TempDir,
    out: PathBuf,
    beside: PathBuf,
}

impl Place {
    fn new() -> Self {
        let memory = Path::new("/dev/shm");
        let parent = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let directory = tempfile::tempdir_in(parent).unwrap();
        let (out, beside) = (
            directory.path().join("out"),
            directory.path().join("outside"),
        );
        for made in [&out, &beside] {
            std::fs::create_dir(made).unwrap();
        }
        std::fs::write(beside.join("a"), SECRET).unwrap();
        // A link of the user's, which the server knows the name of.
        symlink("../outside", out.join("link")).unwrap();
        Self {
            _directory: directory,
            out,
            beside,
        }
    }

    fn check(&self) {
        let there: Vec<_> = std::fs::read_dir(&self.beside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(there, ["a"], "something was written outside");
        let secret = self.beside.join("a");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), SECRET);
        let parent = self.out.parent().unwrap();
        assert_eq!(
            std::fs::read_dir(parent).unwrap().count(),
            2,
            "something was made beside"
        );
        let mut total = 0;
        self.check_directory(&self.out, &mut total);
        assert!(total <= BYTES, "{total} bytes were written");
    }

    fn check_directory(&self, directory: &Path, total: &mut u64) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                // The user's own may lead anywhere.
                if path != self.out.join("link") || target != Path::new("../outside") {
                    self.check_link(&path, &target);
                }
            } else {
                assert!(
                    metadata.is_dir() || metadata.is_file(),
                    "{} is something else",
                    path.display()
                );
                assert_eq!(
                    metadata.permissions().mode() & 0o7000,
                    0,
                    "{}",
                    path.display()
                );
                *total += if metadata.is_file() {
                    metadata.len()
                } else {
                    0
                };
            }
            if metadata.is_dir() {
                self.check_directory(&path, total);
            }
        }
    }

    /// Follows a link as the kernel would, also where there is nothing yet.
    fn check_link(&self, path: &Path, target: &Path) {
        let mut at = path.parent().unwrap().to_owned();
        for part in target.components() {
            at = at.join(part);
            if let Ok(real) = at.canonicalize() {
                at = real;
            } else if part == std::path::Component::ParentDir {
                at = at.parent().and_then(Path::parent).unwrap().to_owned();
            }
            if at.starts_with(&self.beside)
                && std::fs::read_link(self.out.join("link"))
                    .is_ok_and(|to| to == Path::new("../outside"))
            {
                // By way of the user's own, or of a link to that, which is looked at by itself. One that
                // goes there straight has come by the directory above.
                return;
            }
            let inside = at.starts_with(self.out.canonicalize().unwrap());
            assert!(inside, "{} leads to {}", path.display(), at.display());
        }
    }
}
