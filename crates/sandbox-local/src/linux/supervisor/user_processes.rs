//! The limit on processes of a sandbox whose user also has processes outside.

use std::fs;

use rustix::process::{Resource, Rlimit, WaitOptions, getrlimit, getuid, setrlimit, waitpid};

use crate::linux::sys::{Cloned, clone_process};

/// How often the processes are counted at most.
const COUNTS: usize = 8;

/// Returns a limit that allows this many more processes of the user than there are now; `None` if
/// those cannot be counted.
pub(super) fn shared_process_limit(additional: u64) -> Option<u64> {
    // The kernel also counts the processes of this uid in other containers, which are not visible
    // here. So a process is started under the limit, to see whether it allows any.
    const MARGIN: u64 = 16;
    let mut former = None;
    for _ in 0..COUNTS {
        let count = count_user_processes()?;
        if can_start_process(count.saturating_add(additional.min(MARGIN))) {
            return Some(count.saturating_add(additional));
        }
        // Between a count and its trial, others may start more than the margin. A count that stays the same is not outdated.
        if former.replace(count) == Some(count) {
            return None;
        }
    }
    None
}

/// Counts the processes and threads of this user.
fn count_user_processes() -> Option<u64> {
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
        // A process that has ended in the meantime does not count.
        count += entry
            .file_name()
            .to_str()
            .filter(|name| name.starts_with(|c: char| c.is_ascii_digit()))
            .and_then(threads)
            .unwrap_or(0);
    }
    Some(count)
}

/// Finds out whether this user can start another process under a limit.
fn can_start_process(limit: u64) -> bool {
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
