//! Confines a process step by step. A step that fails ends the process.

mod etc;
mod landlock;
mod mechanism;
mod mounts;
mod namespace_limits;
mod privileges;
mod root;
mod seccomp;
mod sysfs;
mod user;

use std::path::PathBuf;

use crate::linux::failure::{Failure, IoContext, NamespaceContext};
use crate::linux::sys;

pub(crate) use mechanism::Mechanism;
pub(crate) use privileges::{ProcessLimits, become_subreaper, has_exclusive_process_limit};
pub(crate) use user::{OutsideIds, check_login_name, home_of};

use user::INSIDE_ID;

/// The result of [`Confinement::enter`].
pub(crate) struct Confined {
    /// The mechanisms that were applied.
    pub(crate) applied: Vec<String>,
    /// Additional confinement of the commands.
    pub(crate) commands: Option<CommandDomain>,
}

/// Confines commands, but not their server.
pub(crate) struct CommandDomain {
    rules: ::landlock::RulesetCreated,
    filters: Option<seccomp::Filters>,
}

impl CommandDomain {
    /// Confines this thread and its descendants irrevocably.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        let rules = self.rules.try_clone();
        landlock::enter(rules.isolation_context("enter the Landlock domain")?)?;
        self.filters
            .as_ref()
            .map_or(Ok(()), seccomp::Filters::install)
    }
}

/// The confinement of a server process.
pub(crate) struct Confinement {
    pub(crate) mechanism: Mechanism,
    /// The host name inside, which is the sandbox's id.
    pub(crate) hostname: String,
    /// An empty directory, on which the root is mounted.
    pub(crate) staging: PathBuf,
    /// The directory that contains `home` and `tmp`.
    pub(crate) disk: PathBuf,
    /// The size of a tmpfs that is used instead of `disk`, in bytes.
    pub(crate) disk_bytes: Option<u64>,
    /// The login name inside.
    pub(crate) user: String,
    /// Additional files and directories of the outside that can be read.
    pub(crate) read_only_paths: Vec<PathBuf>,
    /// The size of each of /run and /dev/shm, in bytes.
    pub(crate) shared_memory: u64,
    /// Limits of single processes.
    pub(crate) process_limits: ProcessLimits,
    /// User and group outside, if no other process has them. Then groups can be dropped, too.
    pub(crate) own_ids: Option<(u32, u32)>,
}

impl Confinement {
    /// Confines this process, which is in its new namespaces already.
    pub(crate) fn enter(&self) -> Result<Confined, Failure> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        privileges::unblock_signals()?;
        rustix::process::setsid().context("start a session")?;
        let mut confined = match self.mechanism {
            Mechanism::Namespaces => Confined {
                applied: self.enter_namespaces()?,
                commands: None,
            },
            Mechanism::Landlock => self.enter_landlock()?,
            Mechanism::None => Confined {
                applied: self.enter_unconfined()?,
                commands: None,
            },
        };
        confined.applied.push("no_new_privs".to_owned());
        Ok(confined)
    }

    fn enter_namespaces(&self) -> Result<Vec<String>, Failure> {
        let mut applied = vec!["user", "mount", "pid", "ipc", "uts", "network"];
        // This namespace is not created with the others because the group of the process, which the
        // supervisor sets in between, becomes its root.
        match sys::unshare_cgroup_namespace() {
            Ok(()) => applied.push("cgroup"),
            // Without it, /proc/self/cgroup shows the path of the group outside.
            Err(error) => tracing::warn!(%error, "no cgroup namespace"),
        }
        let mut applied: Vec<String> = applied
            .into_iter()
            .map(|kind| format!("{kind} namespace"))
            .collect();
        rustix::system::sethostname(self.hostname.as_bytes())
            .namespace_context("set the host name")?;
        sys::enable_loopback().namespace_context("enable the loopback interface")?;

        // The root file system. The filters are built before and installed at the end.
        let filters = seccomp::Filters::build()?;
        let plan = root::RootPlan {
            staging: &self.staging,
            disk: self
                .disk_bytes
                .map_or(root::Disk::Directory(&self.disk), root::Disk::Memory),
            read_only_paths: &self.read_only_paths,
            hostname: &self.hostname,
            user: &self.user,
            shared_memory: self.shared_memory,
        };
        let outside = root::clone_outside(&plan)?;
        privileges::become_user(INSIDE_ID, INSIDE_ID, self.own_ids.is_some())?;
        root::enter(&plan, outside)?;

        // Limits and privileges.
        self.process_limits.apply()?;
        privileges::set_no_new_privileges()?;
        privileges::drop_capabilities()?;
        privileges::guard_server()?;
        filters.install()?;
        applied.extend(["read-only system", "no capabilities", "seccomp"].map(str::to_owned));
        if self.own_ids.is_some() {
            applied.push("unprivileged user".to_owned());
        }
        Ok(applied)
    }

    /// Restricts access to the file system, whose root remains the same.
    fn enter_landlock(&self) -> Result<Confined, Failure> {
        let has_own_ids = self.own_ids.is_some();
        become_subreaper()?;
        let filters = seccomp::Filters::build_for_landlock(has_own_ids)?;
        let command_filters = if has_own_ids {
            None
        } else {
            Some(seccomp::Filters::build_for_commands_with_callers_id()?)
        };
        // The paths are opened while this process still has the caller's permissions.
        let domains = landlock::Domains::build(&landlock::AllowedAccess {
            writable: [self.disk.join("home"), self.disk.join("tmp")],
            read_only_paths: &self.read_only_paths,
        })?;

        // Limits and privileges.
        match (privileges::empty_bounding_set(), self.own_ids) {
            (Ok(()), _) => {}
            // An unprivileged user cannot empty the set, but no_new_privs has the same effect.
            (Err(rustix::io::Errno::PERM), None) => {}
            (Err(error), _) => {
                return Err(error).isolation_context("empty the capability bounding set");
            }
        }
        if let Some((uid, gid)) = self.own_ids {
            privileges::become_user(uid, gid, true)?;
        }
        self.enter_home()?;
        self.process_limits.apply()?;
        privileges::set_no_new_privileges()?;
        privileges::clear_capabilities()?;
        privileges::guard_server()?;
        let commands = CommandDomain {
            rules: domains.enter()?,
            filters: command_filters,
        };
        filters.install()?;

        let mut applied = vec![
            "landlock files",
            "landlock tcp",
            "landlock signals",
            "landlock abstract sockets",
        ];
        applied.extend(["seccomp", "no new sockets", "no ptrace", "no capabilities"]);
        applied.extend(self.own_ids.map(|_| "unprivileged user"));
        let applied = applied.into_iter().map(str::to_owned).collect();
        Ok(Confined {
            applied,
            commands: Some(commands),
        })
    }

    /// Prepares a server without confinement, which only cannot gain privileges.
    fn enter_unconfined(&self) -> Result<Vec<String>, Failure> {
        become_subreaper()?;
        self.enter_home()?;
        self.process_limits.apply()?;
        privileges::set_no_new_privileges()?;
        privileges::guard_server()?;
        Ok(Vec::new())
    }

    fn enter_home(&self) -> Result<(), Failure> {
        rustix::process::chdir(self.disk.join("home")).context("enter the home directory")
    }
}
