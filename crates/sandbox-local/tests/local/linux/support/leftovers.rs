//! Finds what an ended sandbox has left.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::trial::Result;

/// Finds the other processes with an open file below `path`, such as a supervisor with its lock.
pub(crate) fn processes_using(path: &Path) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let links = std::fs::read_dir(entry.path().join("fd"))
            .into_iter()
            .flatten()
            .flatten();
        if pid != std::process::id()
            && links
                .filter_map(|link| std::fs::read_link(link.path()).ok())
                .any(|target| target.starts_with(path))
        {
            found.push(pid);
        }
    }
    found
}

/// Fails if there is a control group, directory or mount with the uid of a sandbox in its name.
pub(crate) fn check_leftovers(uid: &str) -> Result {
    let mut stack = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(dir) = stack.pop() {
        for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().contains(uid) {
                    return Err(format!("{} is left", entry.path().display()).into());
                }
                stack.push(entry.path());
            }
        }
    }
    for parent in ["/var/tmp", "/tmp"] {
        let path = Path::new(parent).join(format!("sandbox-{uid}"));
        if path.exists() {
            return Err(format!("{} is left", path.display()).into());
        }
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    if mounts.contains(uid) {
        Err("a mount is left".into())
    } else {
        Ok(())
    }
}

/// Counts the processes whose arguments contain this text.
pub(crate) fn count_processes(text: &str) -> usize {
    find_processes(text).len()
}

/// Finds the processes whose arguments contain this text.
pub(crate) fn find_processes(text: &str) -> BTreeSet<u32> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            String::from_utf8_lossy(&line).contains(text).then_some(pid)
        })
        .collect()
}
