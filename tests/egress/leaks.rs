//! Where a text is that should be nowhere: in files, and in the memory of processes.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;

use memchr::memmem;

/// The regular files below a directory that have a text in them.
pub(crate) fn find_in_files(directory: &Path, text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut directories = vec![directory.to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let Ok(kind) = entry.file_type() else {
                continue;
            };
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file()
                && fs::read(entry.path())
                    .is_ok_and(|content| memmem::find(&content, text.as_bytes()).is_some())
            {
                found.push(entry.path().display().to_string());
            }
        }
    }
    found
}

/// The processes below this one that have a text in their memory. Those of the sandbox are among them.
pub(crate) fn find_in_memory(text: &str) -> Vec<String> {
    let own = std::process::id();
    let parent = |pid: u32| {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("PPid:"))?;
        line.split_whitespace().nth(1)?.parse::<u32>().ok()
    };
    let own_line = fs::read("/proc/self/cmdline").unwrap_or_default();
    let mut found = Vec::new();
    let mut count = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok())
        else {
            continue;
        };
        let mut ancestors = std::iter::successors(Some(pid), |pid| parent(*pid));
        if pid == own || !ancestors.any(|ancestor| ancestor == own) {
            continue;
        }
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        // A process that was forked for another test, and has not become its program yet.
        if line == own_line {
            continue;
        }
        count += 1;
        if has_in_memory(pid, text).unwrap_or(false) {
            found.push(format!("{pid} {}", String::from_utf8_lossy(&line)));
        }
    }
    assert!(count > 0, "no process of a sandbox was found");
    found
}

fn has_in_memory(pid: u32, text: &str) -> std::io::Result<bool> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut buffer = vec![0; 1 << 20];
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (Some(range), Some(rights)) = (words.next(), words.next()) else {
            continue;
        };
        let bounds = range.split_once('-').and_then(|(start, end)| {
            let parse = |text| u64::from_str_radix(text, 16).ok();
            Some((parse(start)?, parse(end)?))
        });
        let (Some((start, end)), true) = (bounds, rights.starts_with("rw")) else {
            continue;
        };
        let mut at = start;
        while at < end {
            // What cannot be read is not in memory.
            let read = memory.read_at(&mut buffer, at).unwrap_or(0);
            if memmem::find(&buffer[..read], text.as_bytes()).is_some() {
                return Ok(true);
            }
            if read <= text.len() {
                break;
            }
            // The next part begins a little before the end of this one.
            at += (read - text.len()) as u64;
            if at + text.len() as u64 >= end {
                break;
            }
        }
    }
    Ok(false)
}
