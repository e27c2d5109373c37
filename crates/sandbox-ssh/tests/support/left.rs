//! What is left at our server, and in the pools, of what callers let go of.

use std::path::Path;
use std::time::Duration;

use sandbox_ssh::SshSessions;

use super::Ours;

/// Waits until nothing is left: no channel that anybody uses, no process, no open file, no
/// temporary file. What was let go of is tidied up by tasks that nobody waits for.
pub(crate) async fn nothing_is_left(ours: &Ours, sessions: &SshSessions) {
    let mut left = Vec::new();
    for _ in 0..5000 {
        left = what_is_left(ours, sessions);
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{left:?} are left");
}

/// Waits until nobody works with the files of a server's home any more: what a client sent before it
/// went is still done.
pub(crate) async fn nobody_uses(home: &Path) {
    let mut users = Vec::new();
    for _ in 0..5000 {
        users = in_use(home);
        if users.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    panic!("{users:?} are in use");
}

fn what_is_left(ours: &Ours, sessions: &SshSessions) -> Vec<String> {
    let mut left = Vec::new();
    let mut for_files = 0;
    for status in sessions.status() {
        if status.commands.busy + status.streams.busy > 0 {
            left.push(format!("{status:?}"));
        }
        // The one session for files stays, and what is kept for the next command.
        for_files += status.files.busy + status.commands.prewarmed;
    }
    let server = ours.server.status();
    if server.channels > for_files || server.processes > 0 {
        left.push(format!("{server:?}"));
    }
    left.extend(temporary_files(ours.home.path()));
    left.extend(in_use(ours.home.path()));
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
fn in_use(home: &Path) -> Vec<String> {
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

/// For how long to go on, where somebody asks for more than the usual number of rounds.
pub(crate) fn soak() -> Option<Duration> {
    let seconds = std::env::var("SANDBOX_TEST_SOAK_SECONDS").ok()?;
    Some(Duration::from_secs(
        seconds
            .parse()
            .expect("SANDBOX_TEST_SOAK_SECONDS is a number of seconds"),
    ))
}
