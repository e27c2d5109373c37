//! Repeats all tests as an unprivileged user if they are run as root.

use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::Command;

use libtest_mimic::Trial;

/// A uid and gid that no user has.
const UNPRIVILEGED_ID: u32 = 61_234;

pub(crate) fn trials() -> Vec<Trial> {
    if !rustix::process::geteuid().is_root() {
        return Vec::new();
    }
    vec![Trial::test("all_tests_as_an_unprivileged_user", || {
        // The user may have no access to the directory in which the program was built.
        let dir = tempfile::tempdir()?;
        let program = dir.path().join("local");
        std::fs::copy(std::env::current_exe()?, &program)?;
        let home = dir.path().join("home");
        std::fs::create_dir(&home)?;
        chown(&home, Some(UNPRIVILEGED_ID), Some(UNPRIVILEGED_ID))?;
        for path in [dir.path(), &program] {
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755))?;
        }
        let ran = Command::new(&program)
            .args(["--test-threads", "2"])
            .env("HOME", &home)
            .env("TMPDIR", &home)
            .current_dir(&home)
            .uid(UNPRIVILEGED_ID)
            .gid(UNPRIVILEGED_ID)
            .output()?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&ran.stdout),
            String::from_utf8_lossy(&ran.stderr)
        );
        if ran.status.success() {
            Ok(())
        } else {
            Err(text.into())
        }
    })]
}
