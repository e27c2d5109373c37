//! One attempt to start a sandbox's server process with one mechanism.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;

use nix::sys::signalfd::SignalFd;
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::Pid;
use sandbox_core::{Isolation, SandboxState};

use super::disk::create_disk;
use super::keeper::Keeper;
use super::limits::RequestedLimits;
use super::pause_requests;
use super::server_process::ServerProcess;
use super::teardown::Teardown;
use super::wait::{self, Wakeup};
use crate::linux::cgroup::{AppliedBy, Cgroup};
use crate::linux::confine::{Confinement, Mechanism, become_subreaper, home_of};
use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::process_identity::ProcessIdentity;
use crate::linux::protocol::{Plan, Report};
use crate::linux::record::Record;
use crate::linux::state::SandboxDir;
use crate::linux::sys::{self, Cloned};

/// The parts of a creation that do not depend on the mechanism.
pub(super) struct Attempt<'a> {
    pub(super) plan: &'a Plan,
    pub(super) signals: &'a SignalFd,
    pub(super) teardown: &'a mut Teardown,
    pub(super) listener: UnixListener,
    pub(super) applied_by: AppliedBy,
    pub(super) record: Record,
    pub(super) dir: SandboxDir,
}

impl Attempt<'_> {
    /// Starts the server with this mechanism, and records that the sandbox runs.
    pub(super) fn run(&mut self, mechanism: Mechanism) -> Result<(), Failure> {
        let requested = RequestedLimits::from_plan(self.plan, mechanism)?;
        let own_ids = self
            .teardown
            .ids
            .as_ref()
            .filter(|ids| ids.is_exclusive)
            .map(|ids| (ids.uid, ids.gid));
        let disk = create_disk(
            self.plan,
            mechanism,
            own_ids,
            &self.dir,
            &mut self.record,
            self.teardown,
        )
        .context("create the sandbox's directories")?;
        let applied_limits =
            requested.apply(self.plan, self.applied_by, mechanism, own_ids.is_some())?;
        let confinement = Confinement {
            mechanism,
            hostname: self.plan.id.to_string(),
            staging: self.dir.staging(),
            disk: disk.clone(),
            disk_bytes: requested.disk,
            user: self.plan.user.clone(),
            read_only_paths: self.plan.read_only_paths.clone(),
            shared_memory: applied_limits.shared_memory,
            process_limits: applied_limits.process,
            own_ids,
        };
        let applied = self.start(confinement)?;
        let info = &mut self.record.info;
        info.state = SandboxState::Running;
        info.home = Some(match mechanism {
            Mechanism::Namespaces => home_of(&self.plan.user).display().to_string(),
            Mechanism::Landlock | Mechanism::None => disk.join("home").display().to_string(),
        });
        info.isolation = Isolation {
            kind: mechanism.as_str().to_owned(),
            applied,
        };
        info.limits = applied_limits.limits;
        self.record.write(&self.dir).context("write the record")
    }

    /// Starts the server with Landlock, after namespaces were refused.
    pub(super) fn run_without_namespaces(&mut self, refusal: Failure) -> Result<(), Failure> {
        tracing::warn!(%refusal, "namespaces are not permitted here; using Landlock");
        self.teardown.end_processes();
        self.run(Mechanism::Landlock)
            .map_err(|failure| match failure.kind {
                FailureKind::Isolation => Failure {
                    message: format!("{}; and without namespaces, {failure}", refusal.message),
                    ..refusal.clone()
                },
                FailureKind::AlreadyExists
                | FailureKind::Unsupported
                | FailureKind::Forbidden
                | FailureKind::Crashed
                | FailureKind::Other => failure,
            })?;
        self.record
            .info
            .isolation
            .applied
            .push(format!("instead of namespaces: {refusal}"));
        self.record.write(&self.dir).context("write the record")
    }

    /// Starts the server process and waits until it serves. Returns what confines it.
    fn start(&mut self, confinement: Confinement) -> Result<Vec<String>, Failure> {
        let mechanism = confinement.mechanism;
        let (report, report_to) = pipe_with(PipeFlags::CLOEXEC).context("create a pipe")?;
        let (go, go_to) = pipe_with(PipeFlags::CLOEXEC).context("create a pipe")?;
        let listener = self.listener.try_clone().context("listen on the socket")?;
        let freezer = self.teardown.cgroup.as_ref().and_then(Cgroup::freezer);
        let (freezer, pause_requests) = freezer
            .map(pause_requests::connect)
            .transpose()
            .context("create a pair of sockets")?
            .unzip();
        let server = ServerProcess {
            plan: self.plan,
            confinement,
            listener,
            go,
            report: report_to,
            freezer,
        };
        let child = match mechanism {
            Mechanism::Namespaces => self.start_server(server, go_to)?,
            Mechanism::Landlock | Mechanism::None => {
                self.adopt_orphans()?;
                self.start_keeper(server, go_to)?
            }
        };
        self.teardown.pause_requests = pause_requests.map(|requests| requests(child));
        match receive_report(report, self.teardown, self.signals)? {
            Report::Serving(applied) => Ok(applied),
            Report::Failed(failure) => Err(failure),
        }
    }

    /// Prepares for a sandbox whose processes no pid namespace ends.
    fn adopt_orphans(&mut self) -> Result<(), Failure> {
        self.teardown.has_orphans = true;
        become_subreaper()
    }

    /// Starts the server process, and returns its pid.
    fn start_server(&mut self, server: ServerProcess<'_>, go_to: OwnedFd) -> Result<Pid, Failure> {
        let pid = match sys::clone_process(sys::NEW_NAMESPACES).map_err(namespace_failure)? {
            Cloned::Child => server.run(),
            Cloned::Parent { pid, pidfd } => {
                self.teardown.child = Some(pidfd);
                pid
            }
        };
        // With copies of its pipe ends, the supervisor would not notice that the process has ended.
        drop(server);
        self.record.server = ProcessIdentity::for_pid(pid)
            .map(Some)
            .context("identify the server process")?;
        if let Some(ids) = &self.teardown.ids {
            ids.write_maps(pid)?;
        }
        if let Some(group) = &self.teardown.cgroup {
            group
                .add(pid)
                .context("add the sandbox to its control group")?;
        }
        File::from(go_to)
            .write_all(b"\n")
            .context("release the server process")?;
        Ok(pid)
    }

    /// Starts the keeper, which starts the server process, and returns the keeper's pid.
    fn start_keeper(&mut self, server: ServerProcess<'_>, go_to: OwnedFd) -> Result<Pid, Failure> {
        let (lifeline, lifeline_to) = pipe_with(PipeFlags::CLOEXEC).context("create a pipe")?;
        let locked_dir = self.teardown.locked_dir.as_ref().ok_or_else(|| {
            Failure::new(
                FailureKind::Other,
                "start the keeper",
                "the lock is not held",
            )
        })?;
        let keeper = Keeper {
            lock: locked_dir.lock(),
            lifeline,
            go_to,
            group: self.teardown.cgroup.as_ref(),
        };
        let (pid, pidfd) = match sys::clone_process(0).context("start the keeper")? {
            Cloned::Child => keeper.run(server),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(keeper);
        self.teardown.child = Some(pidfd);
        self.teardown.lifeline = Some(lifeline_to);
        self.record.server = ProcessIdentity::for_pid(pid)
            .map(Some)
            .context("identify the keeper")?;
        Ok(pid)
    }
}

/// Classifies the errors of clone(2): these mean that the namespaces are not permitted or available.
fn namespace_failure(error: io::Error) -> Failure {
    use rustix::io::Errno;
    let refusals = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOSPC,
        Errno::USERS,
        Errno::INVAL,
        Errno::NOSYS,
    ];
    let is_refusal = error.raw_os_error().is_some_and(|number| {
        refusals
            .iter()
            .any(|refusal| refusal.raw_os_error() == number)
    });
    let kind = if is_refusal {
        FailureKind::Forbidden
    } else {
        FailureKind::Isolation
    };
    Failure::new(kind, "create namespaces", error.to_string())
}

fn receive_report(
    report: OwnedFd,
    teardown: &Teardown,
    signals: &SignalFd,
) -> Result<Report, Failure> {
    const STEP: &str = "start the server process";
    let crashed = || {
        let log = teardown
            .dir()
            .and_then(|dir| fs::read_to_string(dir.log()).ok())
            .unwrap_or_default();
        let message = if teardown.has_run_out_of_memory() {
            "the memory limit is too low for the sandbox's server: raise it".to_owned()
        } else {
            format!("it ended before it was ready {}", log.trim())
        };
        Failure::new(FailureKind::Crashed, STEP, message.trim_end())
    };
    match wait::read_line(&mut File::from(report), teardown, signals) {
        Ok(Some(line)) => serde_json::from_slice(&line).context(STEP),
        Ok(None) | Err(Wakeup::ChildEnded | Wakeup::Readable | Wakeup::TimedOut) => Err(crashed()),
        Err(Wakeup::Interrupted) => Err(Failure::new(
            FailureKind::Other,
            STEP,
            "the creation was cancelled",
        )),
    }
}
