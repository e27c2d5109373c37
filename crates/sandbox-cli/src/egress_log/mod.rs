//! What was decided about the connections of sandboxes: a file for each, as lines of JSON, in a directory that only the user
//! can read. The process that serves a sandbox's egress writes it, and `sandbox egress log` reads it.

mod decision;
mod reader;

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use sandbox::SandboxId;

pub(crate) use self::decision::Decision;
pub(crate) use self::reader::LogReader;
use crate::ui::messages;

/// A file that has grown to this size is set aside, and replaces the one that was set aside before.
const MAX_FILE: u64 = 8 << 20;
/// How long the log of a sandbox is kept after the last decision.
const MAX_AGE: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// The log of one sandbox, for the process that serves its egress.
#[derive(Debug)]
pub(crate) struct EgressLog {
    id: SandboxId,
    file: Mutex<Target>,
}

#[derive(Debug)]
enum Target {
    /// Nothing was decided yet.
    Unopened,
    Open(File, PathBuf),
    /// It could not be written, which was reported.
    Failed,
}

impl EgressLog {
    /// The log of this sandbox. The file is created with the first decision.
    pub(crate) fn for_sandbox(id: &SandboxId) -> Self {
        Self {
            id: id.clone(),
            file: Mutex::new(Target::Unopened),
        }
    }

    /// Adds a decision. If that fails, it is reported once, and the sandbox is served all the same.
    pub(crate) fn append(&self, decision: &Decision) {
        let mut target = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        if let Err(error) = target.append(&self.id, decision) {
            *target = Target::Failed;
            messages::print_note(&format!(
                "decisions about egress are not recorded any more: {error:#}"
            ));
        }
    }
}

impl Target {
    fn append(&mut self, id: &SandboxId, decision: &Decision) -> Result<()> {
        if let Self::Unopened = self {
            let path = path_of(id)?;
            if let Some(directory) = path.parent() {
                create_directory(directory)?;
                remove_old(directory);
            }
            *self = Self::Open(open(&path)?, path);
        }
        let Self::Open(file, path) = self else {
            return Ok(());
        };
        let written = write_line(file, decision, path);
        written.with_context(|| format!("cannot write {}", path.display()))
    }
}

fn write_line(file: &mut File, decision: &Decision, path: &Path) -> io::Result<()> {
    let line = format!("{}\n", decision.to_json().map_err(io::Error::other)?);
    if file.metadata()?.len() + line.len() as u64 > MAX_FILE {
        fs::rename(path, set_aside_path(path))?;
        *file = open_file(path)?;
    }
    // One write, so that lines of several processes do not mix.
    file.write_all(line.as_bytes())
}

/// The file of a sandbox.
///
/// # Errors
///
/// If there is no home directory.
fn path_of(id: &SandboxId) -> Result<PathBuf> {
    let variable = |name| std::env::var_os(name).map(PathBuf::from);
    // The XDG specification requires that relative values are ignored.
    let state = variable("XDG_STATE_HOME")
        .or_else(|| variable("HOME").map(|home| home.join(".local/state")))
        .filter(|path| path.is_absolute())
        .context("no place for the log: set HOME or XDG_STATE_HOME to an absolute path")?;
    // The directory of local sandboxes beside it has nothing but sandboxes in it.
    Ok(state.join("sandbox-egress").join(format!("{id}.jsonl")))
}

/// Where a file that has grown is set aside.
fn set_aside_path(path: &Path) -> PathBuf {
    path.with_extension("1.jsonl")
}

fn create_directory(path: &Path) -> Result<()> {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    let created = builder.create(path);
    created.with_context(|| format!("cannot create {}", path.display()))
}

fn open(path: &Path) -> Result<File> {
    open_file(path).with_context(|| format!("cannot open {}", path.display()))
}

fn open_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.append(true).create(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Removes the logs of sandboxes about which nothing was decided for a while. What cannot be removed is left for the next
/// time.
fn remove_old(directory: &Path) {
    let is_old = |path: &Path| {
        let modified = path.metadata().and_then(|data| data.modified());
        modified.is_ok_and(|at| {
            SystemTime::now()
                .duration_since(at)
                .is_ok_and(|age| age > MAX_AGE)
        })
    };
    let Ok(entries) = fs::read_dir(directory) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if path
            .extension()
            .is_some_and(|extension| extension == "jsonl")
            && is_old(&path)
        {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != ErrorKind::NotFound => {
                    tracing::debug!(path = %path.display(), %error, "old log not removed");
                }
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decision(host: &str) -> Decision {
        serde_json::from_str(&format!(
            r#"{{"time":"2026-11-29T18:00:00Z","outcome":"refused","host":"{host}","port":443,"address":null,
                "rule":null,"reason":"no rule allows it","sent":0,"received":0,"lost":0}}"#
        ))
        .unwrap()
    }

    #[test]
    fn a_file_that_has_grown_is_set_aside_and_read_all_the_same() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.jsonl");
        let mut file = open(&path).unwrap();
        let host = "h".repeat(1000);
        let line = decision(&host);
        let count = MAX_FILE / 1100 + 100;
        for _ in 0..count {
            write_line(&mut file, &line, &path).unwrap();
        }
        write_line(&mut file, &decision("last.example"), &path).unwrap();
        assert!(path.metadata().unwrap().len() < MAX_FILE);
        let mut reader = LogReader::open(path.clone());
        let mut read = Vec::new();
        reader
            .read_more(&mut |line| read.push(line.host.clone()))
            .unwrap();
        assert_eq!(read.len() as u64, count + 1);
        assert_eq!(read.last().unwrap(), "last.example");
        // What is added is read, also after the next change of files.
        for _ in 0..count {
            write_line(&mut file, &line, &path).unwrap();
        }
        read.clear();
        reader
            .read_more(&mut |line| read.push(line.host.clone()))
            .unwrap();
        assert_eq!(read.len() as u64, count);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(path.metadata().unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn logs_are_kept_for_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name);
        for name in ["old.jsonl", "new.jsonl", "old.txt"] {
            let file = open(&path(name)).unwrap();
            if name.starts_with("old") {
                file.set_modified(SystemTime::now() - MAX_AGE * 2).unwrap();
            }
        }
        remove_old(directory.path());
        assert!(!path("old.jsonl").exists());
        assert!(path("new.jsonl").exists() && path("old.txt").exists());
    }
}
