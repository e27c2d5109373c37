//! Programs of other projects that tests use, and the handling of missing ones.
//!
//! A test that needs OpenSSH must neither fail on a machine without it nor count as passed. So it
//! prints that it is skipped, which the test harness does not capture. If `SANDBOX_TEST_REQUIRE` lists
//! the peer (comma separated, or `all`), the test fails instead.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

/// The environment variable that turns skips into failures.
pub const REQUIRE: &str = "SANDBOX_TEST_REQUIRE";

/// A program that a test needs and that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its name in `SANDBOX_TEST_REQUIRE`.
    pub name: &'static str,
    /// The programs that must be in `PATH`.
    pub programs: &'static [&'static str],
    /// The command that installs them.
    pub install: &'static str,
}

/// OpenSSH's clients.
pub const OPENSSH: Peer = Peer {
    name: "openssh",
    programs: &["ssh", "scp", "sftp", "ssh-keygen"],
    install: "apt-get install openssh-client",
};
/// OpenSSH's server.
pub const OPENSSH_SERVER: Peer = Peer {
    name: "openssh-server",
    programs: &["sshd", "ssh-keygen"],
    install: "apt-get install openssh-server",
};
/// Dropbear's server and client.
pub const DROPBEAR: Peer = Peer {
    name: "dropbear",
    programs: &["dropbear", "dbclient"],
    install: "apt-get install dropbear-bin",
};
/// rsync.
pub const RSYNC: Peer = Peer {
    name: "rsync",
    programs: &["rsync"],
    install: "apt-get install rsync",
};
/// git.
pub const GIT: Peer = Peer {
    name: "git",
    programs: &["git"],
    install: "apt-get install git",
};
/// A statically linked busybox.
pub const BUSYBOX: Peer = Peer {
    name: "busybox",
    programs: &["busybox"],
    install: "apt-get install busybox-static",
};

impl Peer {
    /// Returns whether the peer is installed. If it is not, this prints the skip, or fails the test if
    /// the peer is required:
    ///
    /// ```no_run
    /// if !sandbox_testkit::peers::OPENSSH.is_available() {
    ///     return;
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// If the peer is missing and required.
    pub fn is_available(&self) -> bool {
        let missing: Vec<_> = self
            .programs
            .iter()
            .filter(|program| find_program(program).is_none())
            .collect();
        if missing.is_empty() {
            return true;
        }
        self.skip(&format!(
            "needs {} ({})",
            self.programs.join(", "),
            self.install
        ))
    }

    /// Prints that the running test is skipped, with the reason. Always returns false.
    ///
    /// # Panics
    ///
    /// If the peer is required.
    pub fn skip(&self, reason: &str) -> bool {
        skip(self.name, reason)
    }
}

/// Prints that the running test is skipped, with the reason. Always returns false.
///
/// # Panics
///
/// If `SANDBOX_TEST_REQUIRE` lists `name`.
pub fn skip(name: &str, reason: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        !is_required(name),
        "{test} {reason}, and {REQUIRE} lists {name}"
    );
    // The test harness captures the output of macros, but not this.
    let line = format!("SKIPPED: {test} {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).ok();
    false
}

/// Returns whether `SANDBOX_TEST_REQUIRE` lists `name`.
pub fn is_required(name: &str) -> bool {
    contains_name(&std::env::var(REQUIRE).unwrap_or_default(), name)
}

/// Finds a program in `PATH` and in the directories of servers, which a user's `PATH` may not contain.
pub fn find_program(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let dirs = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    dirs.map(|dir| dir.join(program.as_ref()))
        .find(|file| file.is_file())
}

fn contains_name(required: &str, name: &str) -> bool {
    required
        .split(',')
        .map(str::trim)
        .any(|listed| listed == name || listed == "all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_contains_whole_names() {
        assert!(contains_name("openssh, rsync", "rsync") && contains_name("all", "busybox"));
        assert!(!contains_name("openssh-server", "openssh") && !contains_name("", "rsync"));
    }

    #[test]
    fn programs_are_found() {
        assert!(find_program("sh").is_some());
        assert!(find_program("no-such-program-anywhere").is_none());
    }
}
