//! Ends the descendants of a process in a sandbox without a pid namespace.

use std::fs;
use std::io;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{
    Pid, PidfdFlags, Signal, WaitOptions, getpid, kill_process, pidfd_open, pidfd_send_signal,
};

/// Kills the children of this process and their descendants until none is left. This process is a
/// subreaper, so orphaned descendants become its children.
pub(super) fn end_descendants(timeout: Option<Duration>) -> io::Result<()> {
    let deadline = timeout.map(|timeout| Instant::now() + timeout);
    loop {
        for pid in children()? {
            match kill_process(pid, Signal::KILL) {
                // A process that has ended by itself is reaped below as well.
                Ok(()) | Err(rustix::io::Errno::SRCH) => {}
                Err(error) => return Err(error.into()),
            }
            // If these were killed only as orphans, a fork bomb would be faster.
            find_descendants(pid).iter().for_each(kill_child);
        }
        loop {
            // `waitpid(None, …)` would wait for children in this process group only.
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some(_)) | Err(rustix::io::Errno::INTR) => {}
                Ok(None) => break,
                Err(rustix::io::Errno::CHILD) => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        if deadline.is_some_and(|deadline| Instant::now() > deadline) {
            return Err(io::Error::other(
                "processes fork faster than they can be killed",
            ));
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// Finds the descendants of a child, each with its parent. The result is empty on kernels without
/// lists of children.
fn find_descendants(child: Pid) -> Vec<(Pid, Pid)> {
    let mut found = vec![(getpid(), child)];
    let mut next = 0;
    while let Some(&(_, parent)) = found.get(next) {
        let parent_number = parent.as_raw_nonzero();
        // The children of a process that has ended in the meantime are children of this process now.
        let tasks = fs::read_dir(format!("/proc/{parent_number}/task"))
            .into_iter()
            .flatten()
            .flatten();
        let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        for list in lists {
            found.extend(
                list.split_whitespace()
                    .filter_map(|pid| Some((parent, Pid::from_raw(pid.parse().ok()?)?))),
            );
        }
        next += 1;
    }
    found.split_off(1)
}

/// Kills a process if its parent is still the same or this one. Otherwise its pid has been reused.
fn kill_child((parent, pid): &(Pid, Pid)) {
    let Ok(process) = pidfd_open(*pid, PidfdFlags::empty()) else {
        return;
    };
    let current = parent_of(*pid);
    if current == Some(*parent) || current == Some(getpid()) {
        // The only possible error is that the process has ended.
        pidfd_send_signal(process, Signal::KILL).ok();
    }
}

/// Returns the parent of a process; `None` if it has ended.
pub(super) fn parent_of(pid: Pid) -> Option<Pid> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero())).ok()?;
    let parent = stat.rsplit_once(')')?.1.split_whitespace().nth(1)?;
    Pid::from_raw(parent.parse().ok()?)
}

/// Lists the children of this process.
fn children() -> io::Result<Vec<Pid>> {
    let list = format!(
        "/proc/self/task/{}/children",
        rustix::thread::gettid().as_raw_nonzero()
    );
    // This process has one thread. On kernels without lists of children, all processes are searched.
    if let Ok(list) = fs::read_to_string(list) {
        return Ok(list
            .split_whitespace()
            .filter_map(|pid| Pid::from_raw(pid.parse().ok()?))
            .collect());
    }
    let me = Some(getpid());
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name
            .to_str()
            .and_then(|name| Pid::from_raw(name.parse().ok()?))
        else {
            continue;
        };
        if parent_of(pid) == me {
            found.push(pid);
        }
    }
    Ok(found)
}
