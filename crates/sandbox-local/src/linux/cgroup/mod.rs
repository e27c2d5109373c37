//! Limits of a whole process tree, with control groups of both versions, and its freezer.
//!
//! A sandbox's group is created as near as possible to the group of the creating process, so that
//! limits of that process, such as those of a container, apply to the sandbox as well.

mod freezer;
mod hierarchy;

use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use sandbox_core::LimitSupport;

use freezer::FROZEN_GROUP;
use hierarchy::{Controller, Hierarchies, ParentGroup, Version};

pub(crate) use freezer::Freezer;

/// The limits of a sandbox.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Limits {
    /// Bytes, without swap.
    pub(crate) memory: Option<u64>,
    /// Processes and threads.
    pub(crate) pids: Option<u64>,
    /// Millicores: thousandths of a processor.
    pub(crate) cpu: Option<u64>,
}

/// The limits that are applied, each with the version of its group.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct AppliedBy {
    pub(crate) memory: Option<&'static str>,
    pub(crate) pids: Option<&'static str>,
    pub(crate) cpu: Option<&'static str>,
}

/// The group of one sandbox: one directory, or one for each controller, and one for the freezer.
#[derive(Debug, Default)]
pub(crate) struct Cgroup {
    directories: Vec<PathBuf>,
    parents: Vec<ParentGroup>,
    /// The directory of version 2.
    unified: Option<PathBuf>,
}

impl Cgroup {
    /// Finds where a group for these limits can be created. `name` must be unique.
    pub(crate) fn plan(name: &str, limits: Limits) -> Self {
        let Ok(hierarchies) = Hierarchies::for_current_process() else {
            return Self::default();
        };
        let controllers: Vec<Controller> = [
            (Controller::Memory, limits.memory.is_some()),
            (Controller::Pids, limits.pids.is_some()),
            (Controller::Cpu, limits.cpu.is_some()),
        ]
        .into_iter()
        .filter_map(|(controller, is_limited)| is_limited.then_some(controller))
        .collect();
        let mut parents = hierarchies.find_parents(&controllers);
        if parents.iter().all(|parent| parent.version == Version::V1) {
            parents.extend(hierarchies.find_parent_without_controllers());
        }
        Self {
            directories: parents
                .iter()
                .map(|parent| parent.directory.join(name))
                .collect(),
            parents,
            unified: None,
        }
    }

    /// Creates the group, with as many of the limits as this system permits.
    pub(crate) fn create(&mut self, limits: Limits) -> AppliedBy {
        let mut applied = AppliedBy::default();
        let parents = std::mem::take(&mut self.parents);
        self.directories = std::mem::take(&mut self.directories)
            .into_iter()
            .zip(parents)
            .filter_map(|(directory, parent)| {
                create_group(&directory).ok()?;
                if parent.controllers.is_empty() && Freezer::for_group(&directory).is_none() {
                    fs::remove_dir(&directory).ok();
                    return None;
                }
                if parent.version == Version::V2 {
                    self.unified = Some(directory.clone());
                }
                for controller in &parent.controllers {
                    let by = Some(parent.version.name());
                    match (controller, set_limit(&directory, parent.version, *controller, limits)) {
                        (Controller::Memory, Ok(())) => applied.memory = by,
                        (Controller::Pids, Ok(())) => applied.pids = by,
                        (Controller::Cpu, Ok(())) => applied.cpu = by,
                        (_, Err(error)) => {
                            tracing::warn!(directory = %directory.display(), %error, "limit not applied")
                        }
                    }
                }
                Some(directory)
            })
            .collect();
        applied
    }

    /// Returns the existing group that consists of these directories.
    pub(crate) fn from_directories(directories: Vec<PathBuf>) -> Self {
        Self {
            directories,
            ..Self::default()
        }
    }

    /// Returns what freezes the members, if this system can.
    pub(crate) fn freezer(&self) -> Option<Freezer> {
        self.unified.as_deref().and_then(Freezer::for_group)
    }

    /// Finds out which limits can be applied here, by creating a group.
    pub(crate) fn probe_support(probe_name: &str) -> LimitSupport {
        let limits = Limits {
            memory: Some(1 << 30),
            pids: Some(1024),
            cpu: Some(1000),
        };
        let mut group = Self::plan(probe_name, limits);
        let applied = group.create(limits);
        if let Err(error) = group.remove() {
            tracing::warn!(%error, "control group of the probe not removed");
        }
        let mut support = LimitSupport::default();
        support.memory = applied.memory.is_some();
        support.pids = applied.pids.is_some();
        support.cpu = applied.cpu.is_some();
        support
    }

    /// Adds a process. The processes that it starts are members, too.
    pub(crate) fn add(&self, process: Pid) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| {
            fs::write(
                directory.join("cgroup.procs"),
                process.as_raw_nonzero().to_string(),
            )
        })
    }

    /// The directories, for the record.
    pub(crate) fn directories(&self) -> &[PathBuf] {
        &self.directories
    }

    /// Counts the members that were killed because memory ran out.
    pub(crate) fn out_of_memory_kills(&self) -> u64 {
        let count = |file: PathBuf| {
            let text = fs::read_to_string(file).ok()?;
            text.lines()
                .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
        };
        let files = ["memory.events", "memory.oom_control"];
        self.directories
            .iter()
            .flat_map(|dir| files.map(|file| dir.join(file)))
            .filter_map(count)
            .max()
            .unwrap_or(0)
    }

    /// Kills the remaining members and removes the group.
    pub(crate) fn remove(&self) -> io::Result<()> {
        self.directories.iter().try_for_each(|directory| {
            remove_directory(&directory.join(FROZEN_GROUP))?;
            remove_directory(directory)
        })
    }
}

fn set_limit(
    directory: &Path,
    version: Version,
    controller: Controller,
    limits: Limits,
) -> io::Result<()> {
    const PERIOD_MICROS: u64 = 100_000;
    let write = |file: &str, value: String| fs::write(directory.join(file), value);
    // The kernel refuses a quota below 1 ms.
    let quota = |millis: u64| (millis.saturating_mul(PERIOD_MICROS) / 1000).max(1000);
    match (controller, version) {
        (Controller::Memory, Version::V1) => {
            let bytes = limits.memory.unwrap_or(u64::MAX).to_string();
            write("memory.limit_in_bytes", bytes.clone())?;
            // Kernels without swap accounting do not have this file.
            write("memory.memsw.limit_in_bytes", bytes)
                .or_else(|_| write("memory.swappiness", "0".into()))
        }
        (Controller::Memory, Version::V2) => {
            write("memory.max", limits.memory.unwrap_or(u64::MAX).to_string())?;
            match write("memory.swap.max", "0".into()) {
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
                result => result,
            }
        }
        (Controller::Pids, _) => write("pids.max", limits.pids.unwrap_or(u64::MAX).to_string()),
        (Controller::Cpu, Version::V1) => {
            write("cpu.cfs_period_us", PERIOD_MICROS.to_string())?;
            write(
                "cpu.cfs_quota_us",
                quota(limits.cpu.unwrap_or(1000)).to_string(),
            )
        }
        (Controller::Cpu, Version::V2) => write(
            "cpu.max",
            format!("{} {PERIOD_MICROS}", quota(limits.cpu.unwrap_or(1000))),
        ),
    }
}

fn remove_directory(directory: &Path) -> io::Result<()> {
    const TIMEOUT: Duration = Duration::from_secs(5);
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match fs::remove_dir(directory) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            // A killed process remains a member until it has ended.
            Err(error) if error.kind() != ErrorKind::ResourceBusy || Instant::now() > deadline => {
                return Err(error);
            }
            Err(_busy) => {}
        }
        kill_members(directory);
        thread::sleep(Duration::from_millis(2));
    }
}

fn kill_members(directory: &Path) {
    // Errors are ignored: a group that was removed has no members, and one that cannot be read
    // remains busy.
    let members = fs::read_to_string(directory.join("cgroup.procs")).unwrap_or_default();
    for pid in members
        .lines()
        .filter_map(|line| Pid::from_raw(line.parse().ok()?))
    {
        if let Err(error) = kill_process(pid, Signal::KILL) {
            tracing::debug!(?pid, %error, "process of an ended sandbox not killed");
        }
    }
}

/// Creates the directory of a group. The sandbox's processes can read it, to find their limits.
fn create_group(directory: &Path) -> io::Result<()> {
    fs::create_dir(directory)?;
    // The umask of the supervisor removes these permissions.
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755))
}
