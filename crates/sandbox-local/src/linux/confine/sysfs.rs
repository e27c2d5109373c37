//! `/sys`: the processors, and the sandbox's own control groups, read-only.
//!
//! Language runtimes size their heaps and thread pools by these files. Nothing else of `/sys` is mounted.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use rustix::mount::MountFlags;

use super::mounts::{MountTree, SYSTEM, mount_file_system};
use crate::linux::failure::{Failure, IoContext};

const TOPOLOGY: [&str; 2] = ["/sys/devices/system/cpu", "/sys/devices/system/node"];
/// The controllers of version 1 that programs read; the JVM needs the first four.
const CONTROLLERS: [&str; 5] = ["cpu", "cpuacct", "cpuset", "memory", "pids"];
/// Below the new root.
const CGROUP_ROOT: &str = "sys/fs/cgroup";

/// Clones the directories that describe the processors and their memory.
pub(crate) fn clone_topology() -> Result<Vec<MountTree>, Failure> {
    TOPOLOGY
        .iter()
        .map(Path::new)
        .filter(|path| path.is_dir())
        .map(|path| MountTree::clone_from(path, path.strip_prefix("/").unwrap_or(path), SYSTEM))
        .collect()
}

/// Mounts the control group hierarchies below the working directory, the new root. In the sandbox's
/// cgroup namespace, their roots are the groups of the sandbox. A kernel that refuses that leaves the
/// sandbox without them, as programs expect of many containers.
pub(crate) fn mount_cgroups() -> Result<(), Failure> {
    let hierarchies = fs::read_to_string("/proc/self/cgroup").context("read /proc/self/cgroup")?;
    for mount in CgroupMount::parse(&hierarchies) {
        let target = Path::new(CGROUP_ROOT).join(mount.name);
        let flags = MountFlags::NODEV | MountFlags::NOEXEC | MountFlags::RDONLY;
        if let Err(failure) = mount_file_system(mount.kind, &target, flags, mount.options) {
            tracing::warn!(%failure, "control groups not visible in the sandbox");
            continue;
        }
        for controller in mount.name.split(',').filter(|name| *name != mount.name) {
            symlink(mount.name, Path::new(CGROUP_ROOT).join(controller))
                .isolation_context(format!("link the control group {controller}"))?;
        }
    }
    Ok(())
}

/// A hierarchy and where it is mounted, by the convention of systemd.
#[derive(Debug, PartialEq, Eq)]
struct CgroupMount<'a> {
    kind: &'static str,
    options: &'a str,
    /// The directory below /sys/fs/cgroup; empty for that directory itself.
    name: &'a str,
}

impl<'a> CgroupMount<'a> {
    /// Parses `/proc/PID/cgroup` (cgroups(7)). Hierarchies with none of the [`CONTROLLERS`] are left out,
    /// because each mount takes time.
    fn parse(text: &'a str) -> Vec<Self> {
        let mut mounts: Vec<Self> = text
            .lines()
            .filter_map(|line| line.split(':').nth(1))
            .filter(|controllers| {
                controllers
                    .split(',')
                    .any(|name| CONTROLLERS.contains(&name))
            })
            .map(|controllers| Self {
                kind: "cgroup",
                options: controllers,
                name: controllers,
            })
            .collect();
        // Beside hierarchies of version 1, that of version 2 has no controllers.
        if mounts.is_empty() && text.lines().any(|line| line.starts_with("0::")) {
            mounts.push(Self {
                kind: "cgroup2",
                options: "",
                name: "",
            });
        }
        mounts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_are_mounted_where_programs_look_for_them() {
        let mount = |kind, options, name| CgroupMount {
            kind,
            options,
            name,
        };
        assert_eq!(CgroupMount::parse("0::/\n"), [mount("cgroup2", "", "")]);
        assert_eq!(
            CgroupMount::parse("4:name=systemd:/\n3:blkio:/\n2:cpu,cpuacct:/\n1:memory:/\n0::/\n"),
            [
                mount("cgroup", "cpu,cpuacct", "cpu,cpuacct"),
                mount("cgroup", "memory", "memory"),
            ]
        );
        assert!(CgroupMount::parse("").is_empty());
    }
}
