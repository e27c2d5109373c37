//! The download of a directory: whatever the server lists, no other directory is written to.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use sandbox::TreeLimits;

use crate::world::{World, check_error, temporary_directory};

const MAX_BYTES: u64 = 4000;
const MAX_ENTRIES: u64 = 60;
const SECRET: &str = "unchanged";

pub(crate) fn target(bytes: &[u8]) {
    let target = TargetDirectory::new();
    World::run(bytes, |case, world| {
        let out = target.out.clone();
        async move {
            let is_sandbox_sshd = case.lock().unwrap().input.choice(2) == 1;
            let sandbox = world.sandbox(is_sandbox_sshd).await;
            let mut limits = TreeLimits::default();
            limits.bytes = MAX_BYTES;
            limits.entries = MAX_ENTRIES;
            limits.depth = 6;
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
    target.check();
}

/// The directory to download to, with files of the user beside it and in it.
struct TargetDirectory {
    _directory: tempfile::TempDir,
    out: PathBuf,
    beside: PathBuf,
}

impl TargetDirectory {
    fn new() -> Self {
        let directory = temporary_directory();
        let out = directory.path().join("out");
        let beside = directory.path().join("outside");
        for path in [&out, &beside] {
            std::fs::create_dir(path).unwrap();
        }
        std::fs::write(beside.join("a"), SECRET).unwrap();
        // A link of the user, whose name the server knows.
        symlink("../outside", out.join("link")).unwrap();
        Self {
            _directory: directory,
            out,
            beside,
        }
    }

    fn check(&self) {
        let entries: Vec<_> = std::fs::read_dir(&self.beside)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(entries, ["a"], "something was written outside");
        let secret = self.beside.join("a");
        assert_eq!(std::fs::read_to_string(&secret).unwrap(), SECRET);
        let parent = self.out.parent().unwrap();
        assert_eq!(
            std::fs::read_dir(parent).unwrap().count(),
            2,
            "something was created beside it"
        );
        let mut total = 0;
        self.check_directory(&self.out, &mut total);
        assert!(total <= MAX_BYTES, "{total} bytes were written");
    }

    fn check_directory(&self, directory: &Path, total: &mut u64) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let metadata = path.symlink_metadata().unwrap();
            if metadata.is_symlink() {
                let target = std::fs::read_link(&path).unwrap();
                // The link of the user may lead anywhere.
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

    /// Follows a link as the kernel would, also if its target does not exist.
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
                // The path uses the link of the user, directly or over another link, which is
                // checked by itself. A path that leads there otherwise has passed the parent
                // directory before, where the assertion below failed.
                return;
            }
            let inside = at.starts_with(self.out.canonicalize().unwrap());
            assert!(inside, "{} leads to {}", path.display(), at.display());
        }
    }
}
