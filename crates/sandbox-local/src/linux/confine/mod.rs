//! How a process gives up its surroundings. Each step is checked; one that fails ends it.

mod etc;
mod landlock;
mod privileges;
mod root;
mod seccomp;
mod tree;
mod user;

use std::path::PathBuf;

use crate::linux::failure::{Failure, IoContext, NamespaceContext};
use crate::linux::sys;

pub(crate) use privileges::{ProcessLimits, process_limit_is_per_namespace};
pub(crate) use user::OutsideIds;

/// The user and group id inside.
pub(crate) const INSIDE_ID: u32 = 1000;
/// The login name inside.
pub(crate) const USER: &str = "sandbox";
/// The home directory inside.
pub(crate) const HOME: &str = "/home/sandbox";

/// How a process is confined: what an isolation level comes to on this system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Means {
    Namespaces,
    Landlock,
    Nothing,
}

impl Means {
    /// The one word for it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Namespaces => "namespaces",
            Self::Landlock => "landlock",
            Self::Nothing => "none",
        }
    }
}

/// What a confined process is by.
pub(crate) struct Confined {
    /// Each means that was applied.
    pub(crate) applied: Vec<String>,
    /// What confines its commands further.
    pub(crate) commands: Option<CommandDomain>,
}

/// What confines commands, but not their server.
pub(crate) struct CommandDomain {
    rules: ::landlock::RulesetCreated,
    filters: Option<seccomp::Filters>,
}

impl CommandDomain {
    /// Confines this thread, and what it starts, for good.
    pub(crate) fn enter(&self) -> Result<(), Failure> {
        landlock::enter(
            self.rules
                .try_clone()
                .isolation_context("enter the Landlock domain")?,
        )?;
        self.filters
            .as_ref()
            .map_or(Ok(()), seccomp::Filters::install)
    }
}

/// How a process shall be confined.
pub(crate) struct Confinement {
    pub(crate) means: Means,
    /// The sandbox's id: the name of the machine inside.
    pub(crate) hostname: String,
    /// An empty directory to build the root on.
    pub(crate) staging: PathBuf,
    /// The directory that holds `home` and `tmp`.
    pub(crate) disk: PathBuf,
    /// Instead of that directory, memory of so many bytes.
    pub(crate) disk_bytes: Option<u64>,
    /// What else of the outside is shown, read-only.
    pub(crate) read_only_paths: Vec<PathBuf>,
    /// Bytes that each of /run and /dev/shm may hold.
    pub(crate) shared_memory: u64,
    /// Limits of single processes.
    pub(crate) process_limits: ProcessLimits,
    /// User and group outside, where they are its own, so that groups can be given up.
    pub(crate) own_ids: Option<(u32, u32)>,
}

impl Confinement {
    /// Confines this process, in whose new namespaces it is already, and says by which means.
    pub(crate) fn enter(&self) -> Result<Confined, Failure> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        privileges::unblock_signals()?;
        rustix::process::setsid().context("begin a session")?;
        let mut confined = match self.means {
            Means::Namespaces => Confined {
                applied: self.enter_namespaces()?,
                commands: None,
            },
            Means::Landlock => self.enter_landlock()?,
            Means::Nothing => Confined {
                applied: self.enter_nothing()?,
                commands: None,
            },
        };
        confined.applied.push("no_new_privs".to_owned());
        Ok(confined)
    }

    fn enter_namespaces(&self) -> Result<Vec<String>, Failure> {
        let mut applied = vec!["user", "mount", "pid", "ipc", "uts", "network"];
        // Made here and not with the others, for it shows the group it is made in as the root.
        match sys::unshare_cgroup_namespace() {
            Ok(()) => applied.push("cgroup"),
            // A kernel without them shows no groups that matter: /sys is not there either.
            Err(error) => tracing::warn!(%error, "no cgroup namespace"),
        }
        let mut applied: Vec<String> = applied
            .into_iter()
            .map(|kind| format!("{kind} namespace"))
            .collect();
        rustix::system::sethostname(self.hostname.as_bytes())
            .namespace_context("set the host name")?;
        sys::bring_up_loopback().namespace_context("bring up the loopback interface")?;
        // Built before the root is gone, applied at the very end.
        let filters = seccomp::Filters::build()?;
        let plan = root::RootPlan {
            staging: &self.staging,
            disk: self
                .disk_bytes
                .map_or(root::Disk::Directory(&self.disk), root::Disk::Memory),
            read_only_paths: &self.read_only_paths,
            hostname: &self.hostname,
            shared_memory: self.shared_memory,
        };
        let taken = root::take_outside(&plan)?;
        privileges::become_user(INSIDE_ID, INSIDE_ID, self.own_ids.is_some())?;
        root::enter(&plan, taken)?;
        self.process_limits.apply()?;
        privileges::no_new_privileges()?;
        privileges::drop_capabilities()?;
        privileges::guard_server()?;
        filters.install()?;
        applied.extend(["read-only system", "no capabilities", "seccomp"].map(str::to_owned));
        if self.own_ids.is_some() {
            applied.push("unprivileged user".to_owned());
        }
        Ok(applied)
    }

    /// The file system stays where it is, but for most of it being closed.
    fn enter_landlock(&self) -> Result<Confined, Failure> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("collect orphans")?;
        let filters = seccomp::Filters::build_for_landlock(self.own_ids.is_some())?;
        let command_filters = match self.own_ids {
            Some(_) => None,
            None => Some(seccomp::Filters::build_for_commands_of_the_caller()?),
        };
        // Opened while the outside can be seen.
        let domains = landlock::Domains::build(&landlock::Openings {
            own: [self.disk.join("home"), self.disk.join("tmp")],
            read_only_paths: &self.read_only_paths,
            own_ids: self.own_ids.is_some(),
        })?;
        match (privileges::empty_bounding_set(), self.own_ids) {
            (Ok(()), _) => {}
            // An ordinary user has nothing there to take away but by no_new_privs.
            (Err(rustix::io::Errno::PERM), None) => {}
            (Err(error), _) => {
                return Err(error).isolation_context("empty the capability bounding set");
            }
        }
        if let Some((uid, gid)) = self.own_ids {
            privileges::become_user(uid, gid, true)?;
        }
        rustix::process::chdir(self.disk.join("home")).context("enter the home directory")?;
        self.process_limits.apply()?;
        privileges::no_new_privileges()?;
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

    /// Plain processes: nothing is taken away but the ways to more rights.
    fn enter_nothing(&self) -> Result<Vec<String>, Failure> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
            .context("collect orphans")?;
        rustix::process::chdir(self.disk.join("home")).context("enter the home directory")?;
        self.process_limits.apply()?;
        privileges::no_new_privileges()?;
        privileges::guard_server()?;
        Ok(Vec::new())
    }
}
