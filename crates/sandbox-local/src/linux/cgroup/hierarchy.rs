//! Finds the control groups of this process, and where a group can be created.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The controllers that limit a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Controller {
    Memory,
    Pids,
    Cpu,
}

impl Controller {
    fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Pids => "pids",
            Self::Cpu => "cpu",
        }
    }
}

/// The two versions of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Version {
    V1,
    V2,
}

impl Version {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::V1 => "cgroup v1",
            Self::V2 => "cgroup v2",
        }
    }
}

/// A directory in which a group can be created, and the controllers of that group.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ParentGroup {
    pub(crate) directory: PathBuf,
    pub(crate) version: Version,
    pub(crate) controllers: Vec<Controller>,
}

/// The mounted hierarchies, each with the group of the current process.
#[derive(Debug, Default)]
pub(crate) struct Hierarchies {
    v1: Vec<(Vec<String>, OwnGroup)>,
    v2: Option<OwnGroup>,
}

/// The group of the current process in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
struct OwnGroup {
    mount: PathBuf,
    group: PathBuf,
}

impl Hierarchies {
    pub(crate) fn for_current_process() -> io::Result<Self> {
        Ok(Self::parse(
            &fs::read_to_string("/proc/self/mountinfo")?,
            &fs::read_to_string("/proc/self/cgroup")?,
        ))
    }

    /// Parses the formats of proc_pid_mountinfo(5) and cgroups(7).
    fn parse(mountinfo: &str, membership: &str) -> Self {
        let mut found = Self::default();
        for line in mountinfo.lines() {
            let Some((before, after)) = line.split_once(" - ") else {
                continue;
            };
            let mut before = before.split(' ').skip(3);
            let (Some(root), Some(mount)) = (before.next(), before.next()) else {
                continue;
            };
            let mut after = after.split(' ');
            let kind = after.next().unwrap_or_default();
            let options = after.nth(1).unwrap_or_default();
            let own = |group: &str| {
                // The path starts at the root of the hierarchy, but the mount may start below it.
                let below = Path::new(group).strip_prefix(root).unwrap_or(Path::new(""));
                let mount = PathBuf::from(mount);
                OwnGroup {
                    group: mount.join(below),
                    mount,
                }
            };
            if kind == "cgroup2" {
                let group = membership.lines().find_map(|line| line.strip_prefix("0::"));
                found.v2 = found.v2.take().or_else(|| group.map(own));
            } else if kind == "cgroup" {
                let controllers: Vec<String> = options.split(',').map(str::to_owned).collect();
                let group = membership.lines().find_map(|line| {
                    let (names, path) = line.split_once(':')?.1.split_once(':')?;
                    names
                        .split(',')
                        .any(|name| !name.is_empty() && controllers.iter().any(|c| c == name))
                        .then_some(path)
                });
                found
                    .v1
                    .extend(group.map(|group| (controllers.clone(), own(group))));
            }
        }
        found
    }

    /// Finds the parent groups to try for these controllers: of version 1 the own group, unchecked, and of
    /// version 2 the best writable one.
    pub(crate) fn find_parents(&self, wanted: &[Controller]) -> Vec<ParentGroup> {
        let mut parents: Vec<ParentGroup> = Vec::new();
        let mut rest = Vec::new();
        for controller in wanted {
            let hierarchy = self
                .v1
                .iter()
                .find(|(controllers, _)| controllers.iter().any(|name| name == controller.name()));
            match hierarchy.map(|(_, own)| &own.group) {
                Some(directory) => match parents
                    .iter_mut()
                    .find(|parent| parent.directory == *directory)
                {
                    Some(parent) => parent.controllers.push(*controller),
                    None => parents.push(ParentGroup {
                        directory: directory.clone(),
                        version: Version::V1,
                        controllers: vec![*controller],
                    }),
                },
                None => rest.push(*controller),
            }
        }
        parents.extend(
            self.v2
                .as_ref()
                .filter(|_| !rest.is_empty())
                .and_then(|own| own.find_best_parent(&rest)),
        );
        parents
    }

    /// Finds the nearest parent group of version 2 in which a group without controllers can be created.
    pub(crate) fn find_parent_without_controllers(&self) -> Option<ParentGroup> {
        let directory = self.v2.as_ref()?.ancestors().find(|dir| is_writable(dir))?;
        Some(ParentGroup {
            directory: directory.to_owned(),
            version: Version::V2,
            controllers: Vec::new(),
        })
    }
}

impl OwnGroup {
    /// The group and its ancestors, as far as they are mounted.
    fn ancestors(&self) -> impl Iterator<Item = &Path> {
        let upwards = self.group.ancestors();
        upwards.take_while(|dir| dir.starts_with(&self.mount))
    }

    /// Finds, among the group and its ancestors, the one that delegates most of the controllers; the nearest
    /// wins a tie. A group that contains
    /// processes cannot delegate any (cgroup-v2, "no internal processes").
    fn find_best_parent(&self, wanted: &[Controller]) -> Option<ParentGroup> {
        let mut best: Option<ParentGroup> = None;
        for parent in self.ancestors().filter(|dir| is_writable(dir)) {
            let controllers: Vec<_> = wanted
                .iter()
                .copied()
                .filter(|controller| delegates(parent, *controller))
                .collect();
            if controllers.len() > best.as_ref().map_or(0, |parent| parent.controllers.len()) {
                best = Some(ParentGroup {
                    directory: parent.to_owned(),
                    version: Version::V2,
                    controllers,
                });
            }
        }
        best
    }
}

/// Returns whether groups can be created there, and processes of groups below moved into them.
fn is_writable(directory: &Path) -> bool {
    let is_writable = |path: &Path| rustix::fs::access(path, rustix::fs::Access::WRITE_OK).is_ok();
    is_writable(directory) && is_writable(&directory.join("cgroup.procs"))
}

/// Returns whether a group delegates a controller to its children, after trying to enable that.
fn delegates(group: &Path, controller: Controller) -> bool {
    let control = group.join("cgroup.subtree_control");
    let is_enabled = || {
        fs::read_to_string(&control).is_ok_and(|names| {
            names
                .split_whitespace()
                .any(|name| name == controller.name())
        })
    };
    is_enabled() || (fs::write(&control, format!("+{}", controller.name())).is_ok() && is_enabled())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_versions_are_found_together() {
        let mountinfo = "\
30 25 0:26 / /sys/fs/cgroup ro - tmpfs tmpfs ro\n\
31 30 0:27 / /sys/fs/cgroup/memory rw,nosuid - cgroup cgroup rw,memory\n\
32 30 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
33 30 0:29 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let membership = "4:memory:/a/b\n3:cpu,cpuacct:/\n1:name=systemd:/x\n0::/user.slice\n";
        let found = Hierarchies::parse(mountinfo, membership);
        assert_eq!(
            found.v2.as_ref().unwrap().group,
            Path::new("/sys/fs/cgroup/unified/user.slice")
        );
        let parents = found.find_parents(&[Controller::Memory, Controller::Cpu]);
        let expected = |directory: &str, controller| ParentGroup {
            directory: directory.into(),
            version: Version::V1,
            controllers: vec![controller],
        };
        assert_eq!(
            parents,
            [
                expected("/sys/fs/cgroup/memory/a/b", Controller::Memory),
                expected("/sys/fs/cgroup/cpu,cpuacct/", Controller::Cpu)
            ]
        );
    }

    /// The groups are laid out as in a systemd user session.
    #[test]
    fn the_nearest_group_that_delegates_most_is_chosen() {
        let mount = tempfile::tempdir().unwrap();
        let manager = mount.path().join("user.slice/user@1000.service");
        let own = manager.join("app.slice/terminal.scope");
        fs::create_dir_all(&own).unwrap();
        for (group, delegated) in [
            (&own, ""),
            (&manager.join("app.slice"), "memory"),
            (&manager, "cpu memory pids"),
            (&mount.path().into(), "cpu memory pids"),
        ] {
            fs::write(group.join("cgroup.procs"), "").unwrap();
            fs::write(group.join("cgroup.subtree_control"), delegated).unwrap();
        }
        let own = OwnGroup {
            mount: mount.path().into(),
            group: own,
        };
        let wanted = [Controller::Memory, Controller::Pids];
        let best = own.find_best_parent(&wanted).unwrap();
        assert_eq!(
            (best.directory, best.controllers),
            (manager.clone(), wanted.to_vec())
        );
        let found = Hierarchies {
            v2: Some(own),
            ..Hierarchies::default()
        };
        let nearest = found.find_parent_without_controllers().unwrap();
        let own = found.v2.unwrap();
        assert_eq!(
            (nearest.directory, nearest.controllers),
            (own.group.clone(), vec![])
        );
        // A nearer group is chosen if the processes cannot be moved to the best one. (A plain file
        // stores what is written to it, unlike the kernel's.)
        fs::write(manager.join("app.slice/cgroup.subtree_control"), "memory").unwrap();
        fs::remove_file(manager.join("cgroup.procs")).unwrap();
        fs::remove_file(mount.path().join("cgroup.procs")).unwrap();
        let best = own.find_best_parent(&wanted).unwrap();
        assert_eq!(
            (best.directory, best.controllers),
            (manager.join("app.slice"), vec![Controller::Memory])
        );
    }

    #[test]
    fn a_mount_may_start_below_the_root_of_its_hierarchy() {
        let mountinfo = "31 30 0:27 /docker/1 /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n";
        let found = Hierarchies::parse(mountinfo, "4:memory:/docker/1/sub\n");
        assert_eq!(found.v1[0].1.group, Path::new("/sys/fs/cgroup/memory/sub"));
    }

    #[test]
    fn invalid_input_yields_no_groups() {
        let found = Hierarchies::parse("x\n - \n1 2 3 - cgroup\n", "::\n0:\n");
        assert!(found.v1.is_empty() && found.v2.is_none());
    }
}
