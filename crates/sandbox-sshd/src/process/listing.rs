//! The processes of the sandbox, as `/proc` lists them.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;

/// A process, without zombies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ProcessEntry {
    pub(crate) pid: Pid,
    parent: Pid,
    /// With the pid, it identifies the process: in clock ticks since the system started.
    pub(crate) started: u64,
    pub(crate) activity: ProcessActivity,
}

/// Whether any thread of a process can run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ProcessActivity {
    /// A thread runs, or waits for something.
    Active,
    /// Each thread is stopped by a signal or by a debugger, or is in a wait that a signal does not interrupt, and at
    /// least one is in such a wait.
    Uninterruptible,
    /// Each thread is stopped by a signal or by a debugger.
    Stopped,
}

/// Lists all processes of the sandbox but this one, parents before their children. Of PID 1 these are all of its
/// namespace, of another server its descendants. What ends while it is listed may be missing.
///
/// # Errors
///
/// If there is no `/proc`.
pub(crate) fn list_processes() -> io::Result<Vec<ProcessEntry>> {
    let own = Pid::this();
    let mut children: HashMap<Pid, Vec<ProcessEntry>> = HashMap::new();
    for entry in fs::read_dir("/proc")? {
        let entry = entry?;
        let pid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        let Some(pid) = pid.map(Pid::from_raw) else {
            continue;
        };
        if pid != own
            && let Some(process) = read_process(pid, &entry.path())
        {
            children.entry(process.parent).or_default().push(process);
        }
    }
    // An empty directory is what a sandbox without procfs has.
    if !Path::new("/proc/self/stat").exists() {
        return Err(io::Error::from(io::ErrorKind::NotFound));
    }
    let mut found = children.remove(&own).unwrap_or_default();
    if own.as_raw() == 1 {
        // Processes that the container's runtime has started have a parent outside.
        found.extend(children.remove(&Pid::from_raw(0)).unwrap_or_default());
    }
    let mut next = 0;
    while let Some(process) = found.get(next) {
        found.extend(children.remove(&process.pid).unwrap_or_default());
        next += 1;
    }
    Ok(found)
}

/// Returns the processes that `/proc` hides from this one: programs that may not be traced, where it is mounted with
/// `hidepid=2` (proc(5)). Among them may be zombies and threads that have started since the others were listed.
pub(crate) fn list_hidden(listed: &[ProcessEntry]) -> Vec<Pid> {
    if Pid::this().as_raw() != 1 || !hides_processes() {
        return Vec::new();
    }
    let mut known = HashSet::new();
    for process in listed {
        known.insert(process.pid.as_raw());
        let directory = Path::new("/proc")
            .join(process.pid.to_string())
            .join("task");
        let threads = fs::read_dir(directory).into_iter().flatten().flatten();
        known.extend(threads.filter_map(|thread| thread.file_name().to_str()?.parse::<i32>().ok()));
    }
    // PID 1 is this process.
    (2..=last_pid())
        .filter(|pid| !known.contains(pid))
        .map(Pid::from_raw)
        .filter(|pid| !matches!(kill(*pid, None), Err(Errno::ESRCH)))
        .collect()
}

fn hides_processes() -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    mounts.lines().any(|line| {
        line.split(' ').nth(1) == Some("/proc")
            && ["hidepid=2", "hidepid=invisible"]
                .iter()
                .any(|option| line.contains(option))
    })
}

/// Returns the largest pid that is given out soon: the last one of this namespace, or all once they have begun again.
fn last_pid() -> i32 {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let last = |text: String| text.split_ascii_whitespace().last()?.parse().ok();
    let given_out: i32 = last(read("/proc/loadavg")).unwrap_or(i32::MAX);
    let most: i32 = last(read("/proc/sys/kernel/pid_max")).unwrap_or(1 << 15);
    // The pids of a namespace begin again after the last one, and then the number does not say which are in use.
    let highest = fs::read_dir("/proc").into_iter().flatten().flatten();
    let highest = highest.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    if highest.max().unwrap_or(0) > given_out {
        return most;
    }
    given_out.min(most)
}

/// Reads one process again; `None` if it has ended.
pub(crate) fn find_process(pid: Pid) -> Option<ProcessEntry> {
    read_process(pid, &Path::new("/proc").join(pid.to_string()))
}

/// Reads the directory of a process; `None` if it has ended, which it may have since its directory was listed.
fn read_process(pid: Pid, directory: &Path) -> Option<ProcessEntry> {
    let stat = Stat::parse(&fs::read(directory.join("stat")).ok()?)?;
    let threads = match stat.state {
        // A process whose first thread has ended is a zombie only by its own line.
        b'Z' | b'X' => read_threads(directory).filter(|states| !states.is_empty())?,
        _ => read_threads(directory).unwrap_or_else(|| vec![stat.state]),
    };
    Some(ProcessEntry {
        pid,
        parent: Pid::from_raw(stat.parent),
        started: stat.started,
        activity: judge(&threads),
    })
}

/// Reads the states of the threads that have not ended.
fn read_threads(directory: &Path) -> Option<Vec<u8>> {
    let mut states = Vec::new();
    for thread in fs::read_dir(directory.join("task")).ok()?.flatten() {
        let stat = fs::read(thread.path().join("stat")).ok();
        if let Some(stat) = stat.and_then(|stat| Stat::parse(&stat))
            && !matches!(stat.state, b'Z' | b'X')
        {
            states.push(stat.state);
        }
    }
    Some(states)
}

fn judge(threads: &[u8]) -> ProcessActivity {
    let is_stopped = |state: &u8| matches!(state, b'T' | b't');
    if threads.iter().all(is_stopped) {
        ProcessActivity::Stopped
    } else if threads
        .iter()
        .all(|state| is_stopped(state) || *state == b'D')
    {
        ProcessActivity::Uninterruptible
    } else {
        ProcessActivity::Active
    }
}

/// The fields of a `stat` line that matter here (proc_pid_stat(5)).
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: i32,
    started: u64,
}

impl Stat {
    /// Parses a line. The name in parentheses may contain parentheses, so the fields are counted from the last one.
    fn parse(line: &[u8]) -> Option<Self> {
        /// The number of fields between the parent and the start time.
        const BETWEEN: usize = 17;
        let end = line.iter().rposition(|&byte| byte == b')')?;
        let mut fields = std::str::from_utf8(&line[end + 1..])
            .ok()?
            .split_ascii_whitespace();
        let state = *fields.next()?.as_bytes().first()?;
        let parent = fields.next()?.parse().ok()?;
        let started = fields.nth(BETWEEN)?.parse().ok()?;
        Some(Self {
            state,
            parent,
            started,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::signal::Signal;

    #[test]
    fn a_line_is_parsed_whatever_the_name_contains() {
        let parsed = |state, parent| {
            Some(Stat {
                state,
                parent,
                started: 99,
            })
        };
        let rest = "7 12 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 99 4096";
        for (line, expected) in [
            (format!("12 (sh) S 7 {rest}"), parsed(b'S', 7)),
            (format!("12 (a) S 1 (b) ) T 7 {rest}"), parsed(b'T', 7)),
            (format!("12 (sh) Z 7 {rest}"), parsed(b'Z', 7)),
            ("12 (sh) S 7".to_owned(), None),
            ("12 (sh) S x".to_owned(), None),
            ("12 (sh)".to_owned(), None),
            ("12 (sh".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(Stat::parse(line.as_bytes()), expected, "{line:?}");
        }
    }

    #[test]
    fn a_process_is_stopped_if_all_of_its_threads_are() {
        for (threads, expected) in [
            ("TTt", ProcessActivity::Stopped),
            ("TD", ProcessActivity::Uninterruptible),
            ("TS", ProcessActivity::Active),
            ("RD", ProcessActivity::Active),
        ] {
            assert_eq!(judge(threads.as_bytes()), expected, "{threads}");
        }
    }

    #[test]
    fn a_child_is_listed_with_its_activity_until_it_has_ended() {
        let mut child = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .unwrap();
        let pid = Pid::from_raw(child.id().cast_signed());
        let listed = || {
            let all = list_processes().unwrap();
            all.into_iter().find(|process| process.pid == pid)
        };
        let running = listed().unwrap();
        kill(pid, Signal::SIGSTOP).unwrap();
        // It has just begun to run, and may wait for its program before it stops.
        while listed().unwrap().activity != ProcessActivity::Stopped {
            std::thread::sleep(std::time::Duration::from_millis(1));
        }
        assert_eq!(find_process(pid).unwrap().started, running.started);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!((listed(), find_process(pid)), (None, None));
    }
}
