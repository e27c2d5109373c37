//! A limit on processes where the sandbox's user has other ones.

use std::fs;

use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, getuid, setrlimit, waitpid};

use crate::linux::sys::{Cloned, clone_process};

/// The limit that leaves room for so many more processes of this user than there are now;
/// `None` where they cannot be counted.
pub(super) fn shared_process_limit(room: u64) -> Option<u64> {
    // Others of the same id in other containers count for the kernel, but cannot be seen. Then
    // it would leave no room at all.
    const MARGIN: u64 = 16;
    let count = processes_of_user()?;
    let limit = count.saturating_add(room);
    let trial = count.saturating_add(room.min(MARGIN));
    (can_start_another(trial)).then_some(limit)
}

/// Processes and threads of this user.
fn processes_of_user() -> Option<u64> {
    let me = getuid().as_raw().to_string();
    let threads = |pid: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let field = |name: &str| {
            status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_whitespace().next())
        };
        (field("Uid:")? == me)
            .then(|| field("Threads:")?.parse::<u64>().ok())
            .flatten()
    };
    let mut count = 0;
    for entry in fs::read_dir("/proc").ok()?.flatten() {
        // What has ended by now does not count.
        count += entry
            .file_name()
            .to_str()
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(threads)
            .unwrap_or(0);
    }
    Some(count)
}

/// Whether this user can start another process under a limit: tried.
fn can_start_another(limit: u64) -> bool {
    let before = getrlimit(Resource::Nproc);
    let limited = Rlimit {
        current: Some(before.maximum.map_or(limit, |max| max.min(limit))),
        maximum: before.maximum,
    };
    if setrlimit(Resource::Nproc, limited).is_err() {
        return false;
    }
    let started = match clone_process(0) {
        Ok(Cloned::Child) => std::process::exit(0),
        Ok(Cloned::Parent { pid, .. }) => waitpid(Some(pid), WaitOptions::empty()).is_ok(),
        Err(_) => false,
    };
    setrlimit(Resource::Nproc, before).is_ok() && started
}
