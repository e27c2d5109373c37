//! Finds what dropped calls left at the server and in the pools.

use std::path::Path;
use std::time::Duration;

use sandbox_ssh::SshSessions;

use super::InProcessSshd;

/// Waits for the background cleanup: until there is no channel in use, no process, no open file and
/// no temporary file.
pub(crate) async fn wait_until_clean(sshd: &InProcessSshd, sessions: &SshSessions) {
    let mut left = Vec::new();
    for _ in 0..5000 {
        left = find_leftovers(sshd, sessions);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{left:?} remain");
}

/// Waits until no process works with the files of a server's home: requests that a client sent before
/// it ended are still executed.
pub(crate) async fn wait_until_unused(home: &Path) {
    let mut users = Vec::new();
    for _ in 0..5000 {
        users = find_users(home);
        if users.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{users:?} are in use");
}

fn find_leftovers(sshd: &InProcessSshd, sessions: &SshSessions) -> Vec<String> {
    let mut left = Vec::new();
    let mut for_files = 0;
    for status in sessions.status() {
        if status.commands.busy + status.streams.busy > 0 {
            left.push(format!("{status:?}"));
        }
        // The session for files and prewarmed channels remain.
        for_files += status.files.busy + status.commands.prewarmed;
    }
    let server = sshd.server.status();
    if server.channels > for_files || server.processes > 0 {
        left.push(format!("{server:?}"));
    }
    left.extend(temporary_files(sshd.home.path()));
    // The search through all processes of this machine takes long, so it begins once nothing else remains.
    if left.is_empty() {
        left = find_users(sshd.home.path());
    }
    left
}

fn temporary_files(home: &Path) -> Vec<String> {
    let names = std::fs::read_dir(home)
        .unwrap()
        .map(|entry| entry.unwrap().file_name());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .filter(|name| name.contains(".sandbox-"))
        .collect()
}

/// Files of the home directory that this process has open, and processes that run there.
fn find_users(home: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc/self/fd").unwrap().flatten() {
        if let Ok(file) = std::fs::read_link(entry.path())
            && file.starts_with(home)
        {
            found.push(format!("open: {}", file.display()));
        }
    }
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        if std::fs::read_link(entry.path().join("cwd")).is_ok_and(|cwd| cwd.starts_with(home)) {
            found.push(format!("process {}", entry.file_name().display()));
        }
    }
    found
}

/// How long a soak test runs, if the environment sets it.
pub(crate) fn soak_duration() -> Option<Duration> {
    let seconds = std::env::var("SANDBOX_TEST_SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(
        seconds
            .parse()
            .expect("SANDBOX_TEST_SOAK_SECONDS is a number of seconds"),
    ))
}
