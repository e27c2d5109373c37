//! Programs of others that a test talks to, and what to do when one is not here.
//!
//! A test that needs OpenSSH must not fail on a machine without it, nor may it pass there as
//! if it had been run. So it says that it is skipped, past the test harness's capture; and where
//! `SANDBOX_TEST_REQUIRE` lists the peer (comma separated, or `all`), it fails instead.

use std::ffi::OsStr;
use std::io::Write;
use std::path::PathBuf;

/// The environment variable that turns skips into failures.
pub const REQUIRE: &str = "SANDBOX_TEST_REQUIRE";

/// Something that a test needs and that may be missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its name in `SANDBOX_TEST_REQUIRE`.
    pub name: &'static str,
    /// The programs that must be in `PATH`.
    pub programs: &'static [&'static str],
    /// How to get them.
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
/// A busybox that needs no libraries.
pub const BUSYBOX: Peer = Peer {
    name: "busybox",
    programs: &["busybox"],
    install: "apt-get install busybox-static",
};

impl Peer {
    /// Whether the peer is here. If not, the skip is printed, or the test fails where the peer
    /// is required:
    ///
    /// ```no_run
    /// if !sandbox_testkit::peers::OPENSSH.is_here() {
    ///     return;
    /// }
    /// ```
    ///
    /// # Panics
    ///
    /// When it is missing and required.
    pub fn is_here(&self) -> bool {
        let missing: Vec<_> = self
            .programs
            .iter()
            .filter(|program| find(program).is_none())
            .collect();
        if missing.is_empty() {
            return true;
        }
        self.missing(&format!(
            "needs {} ({})",
            self.programs.join(", "),
            self.install
        ))
    }

    /// Says that a test is skipped, and why: always false.
    ///
    /// # Panics
    ///
    /// When the peer is required.
    pub fn missing(&self, reason: &str) -> bool {
        skip(self.name, reason)
    }
}

/// Says on the terminal that the running test is skipped: always false.
///
/// # Panics
///
/// When `SANDBOX_TEST_REQUIRE` lists `name`.
pub fn skip(name: &str, reason: &str) -> bool {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    assert!(
        !is_required(name),
        "{test} {reason}, and {REQUIRE} lists {name}"
    );
    // The harness captures what the macros print, but not this.
    let line = format!("SKIPPED: {test} {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).ok();
    false
}

/// Whether `SANDBOX_TEST_REQUIRE` lists `name`.
pub fn is_required(name: &str) -> bool {
    lists(&std::env::var(REQUIRE).unwrap_or_default(), name)
}

/// Where a program is, looking also where Debian keeps servers, which users' paths leave out.
pub fn find(program: impl AsRef<OsStr>) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    places
        .map(|place| place.join(program.as_ref()))
        .find(|file| file.is_file())
}

fn lists(required: &str, name: &str) -> bool {
    required
        .split(',')
        .map(str::trim)
        .any(|listed| listed == name || listed == "all")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_is_of_whole_names() {
        assert!(lists("openssh, rsync", "rsync") && lists("all", "busybox"));
        assert!(!lists("openssh-server", "openssh") && !lists("", "rsync"));
    }

    #[test]
    fn programs_are_found() {
        assert!(find("sh").is_some());
        assert!(find("no-such-program-anywhere").is_none());
    }
}
