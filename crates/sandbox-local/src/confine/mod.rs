//! How a process gives up its surroundings. Each step is checked; one that fails ends it.

mod etc;
mod ids;
mod privileges;
mod root;
mod seccomp;
mod tree;

use std::path::PathBuf;

use crate::IsolationLevel;
use crate::failure::{During, Failure};
use crate::sys;

pub(crate) use ids::OutsideIds;
pub(crate) use privileges::{ProcessLimits, process_limit_is_per_namespace};

/// The user and group id inside.
pub(crate) const INSIDE_ID: u32 = 1000;
/// The login name inside.
pub(crate) const USER: &str = "sandbox";
/// The home directory inside.
pub(crate) const HOME: &str = "/home/sandbox";

/// How a process shall be confined.
pub(crate) struct Confinement {
    pub(crate) level: IsolationLevel,
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
    /// Whether its ids are its own, so that groups can be given up.
    pub(crate) own_ids: bool,
}

impl Confinement {
    /// Confines this process, in whose new namespaces it is already, and says by which means.
    pub(crate) fn enter(&self) -> Result<Vec<String>, Failure> {
        rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
        privileges::unblock_signals()?;
        rustix::process::setsid().during("begin a session")?;
        let mut applied = match self.level {
            IsolationLevel::Namespaces => self.enter_namespaces()?,
            IsolationLevel::None => self.enter_nothing()?,
        };
        applied.push("no_new_privs".to_owned());
        Ok(applied)
    }

    fn enter_namespaces(&self) -> Result<Vec<String>, Failure> {
        let mut applied = vec!["user", "mount", "pid", "ipc", "uts", "network"];
        // Made here and not with the others, for it shows the group it is made in as the root.
        match sys::unshare_cgroup_namespace() {
            Ok(()) => applied.push("cgroup"),
            // A kernel without them shows no groups that matter: /sys is not there either.
            Err(error) => tracing::warn!(%error, "no cgroup namespace"),
        }
        let mut applied: Vec<String> = applied.into_iter().map(|kind| format!("{kind} namespace")).collect();
        rustix::system::sethostname(self.hostname.as_bytes()).isolating("set the host name")?;
        sys::bring_up_loopback().isolating("bring up the loopback interface")?;
        // Built before the root is gone, applied at the very end.
        let filters = seccomp::Filters::build()?;
        let plan = root::RootPlan {
            staging: &self.staging,
            disk: self.disk_bytes.map_or(root::Disk::Directory(&self.disk), root::Disk::Memory),
            read_only_paths: &self.read_only_paths,
            hostname: &self.hostname,
            shared_memory: self.shared_memory,
        };
        let taken = root::take_outside(&plan)?;
        privileges::become_user(INSIDE_ID, INSIDE_ID, self.own_ids)?;
        root::enter(&plan, taken)?;
        self.process_limits.apply()?;
        privileges::no_new_privileges()?;
        privileges::drop_capabilities()?;
        privileges::guard_server()?;
        filters.install()?;
        applied.extend(["read-only system", "no capabilities", "seccomp"].map(str::to_owned));
        if self.own_ids {
            applied.push("unprivileged user".to_owned());
        }
        Ok(applied)
    }

    /// Plain processes: nothing is taken away but the ways to more rights.
    fn enter_nothing(&self) -> Result<Vec<String>, Failure> {
        rustix::process::set_child_subreaper(Some(rustix::process::getpid())).during("collect orphans")?;
        rustix::process::chdir(self.disk.join("home")).during("enter the home directory")?;
        self.process_limits.apply()?;
        privileges::no_new_privileges()?;
        privileges::guard_server()?;
        Ok(Vec::new())
    }
}
