//! Making a sandbox, step by step. Each part is part of the teardown as soon as it exists.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use nix::sys::signalfd::SignalFd;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use sandbox_core::{Isolation, PrivateKey, SandboxInfo, SandboxState};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::isolation_hints::with_advice;
use super::keeper::Keeper;
use super::limits::Wanted;
use super::server_process::Inside;
use super::teardown::Teardown;
use super::wait::{self, Outcome};
use crate::linux::cgroup::{AppliedBy, Cgroup};
use crate::linux::confine::{Confinement, HOME, Means, OutsideIds, USER};
use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::process_identity::ProcessIdentity;
use crate::linux::protocol::{Plan, Report};
use crate::linux::reclaim::clear_dead;
use crate::linux::record::Record;
use crate::linux::remove_tree::create_private;
use crate::linux::state::{Held, SandboxDir, StateDir, private_directories};
use crate::linux::sys::{self, Cloned};
use crate::options::IsolationLevel;

/// Makes the sandbox; when it returns, its server accepts connections.
pub(super) fn launch(
    plan: &Plan,
    signals: &SignalFd,
    teardown: &mut Teardown,
) -> Result<SandboxInfo, Failure> {
    let means = match plan.isolation {
        IsolationLevel::Auto | IsolationLevel::Namespaces => Means::Namespaces,
        IsolationLevel::Landlock => Means::Landlock,
        IsolationLevel::None => Means::Nothing,
    };
    let wanted = Wanted::of(plan, means)?;
    let state = StateDir::new(plan.state_dir.clone());
    let held = claim(&state, plan)
        .context(format!("make {}", state.sandbox(&plan.id).path().display()))?;
    let held =
        held.ok_or_else(|| Failure::new(FailureKind::AlreadyExists, "take the id", "it is taken"))?;
    let dir = held.dir().clone();
    teardown.held = Some(held);
    open_log(&dir).context("open the log")?;

    let host_key = PrivateKey::from_openssh(plan.host_key.clone())
        .and_then(|key| key.public_key())
        .context("read the host key")?;
    let mut group = Cgroup::plan(&format!("sandbox-{}-{}", plan.id, plan.uid), wanted.tree);
    let mut record = Record::new(
        info(plan, &dir),
        later(plan.created_at, plan.lifetime.max_lifetime),
        &host_key,
    );
    // Known before it exists, so that a sweep finds it whatever happens.
    record.cgroups = group.directories().to_vec();
    record.write(&dir).context("write the record")?;
    create_private(&dir.client_key_file())
        .and_then(|mut file| file.write_all(plan.client_key.as_bytes()))
        .context("keep the key")?;

    if means != Means::Nothing {
        teardown.ids = Some(OutsideIds::choose()?);
    }
    private_directories()
        .create(dir.staging())
        .context("make the sandbox's directories")?;
    let listener = listen(&dir).context("listen on the socket")?;
    let by = group.make(wanted.tree);
    record.cgroups = group.directories().to_vec();
    teardown.cgroup = Some(group);

    let mut attempt = Attempt {
        plan,
        signals,
        teardown,
        listener,
        by,
        record,
        dir,
    };
    let tried = match attempt.make(means) {
        Err(refusal)
            if refusal.kind == FailureKind::Forbidden && plan.isolation == IsolationLevel::Auto =>
        {
            attempt.make_without_namespaces(refusal)
        }
        tried => tried,
    };
    tried.map_err(|failure| with_advice(failure, plan.isolation))?;
    Ok(attempt.record.info)
}

/// Takes the id; from a dead sandbox too, once what it left is removed.
fn claim(state: &StateDir, plan: &Plan) -> io::Result<Option<Held>> {
    match state.claim(&plan.id)? {
        None if clear_dead(state, &plan.id)? => state.claim(&plan.id),
        claimed => Ok(claimed),
    }
}

/// What is the same whatever the sandbox is confined by.
struct Attempt<'a> {
    plan: &'a Plan,
    signals: &'a SignalFd,
    teardown: &'a mut Teardown,
    listener: UnixListener,
    by: AppliedBy,
    record: Record,
    dir: SandboxDir,
}

impl Attempt<'_> {
    /// Makes it by these means, as far as the record of a running sandbox.
    fn make(&mut self, means: Means) -> Result<(), Failure> {
        let wanted = Wanted::of(self.plan, means)?;
        let own_ids = self
            .teardown
            .ids
            .as_ref()
            .filter(|ids| ids.own)
            .map(|ids| (ids.uid, ids.gid));
        let disk = self
            .make_disk(means, own_ids)
            .context("make the sandbox's directories")?;
        let holding = wanted.apply(self.plan, self.by, means, own_ids.is_some())?;
        let confinement = Confinement {
            means,
            hostname: self.plan.id.to_string(),
            staging: self.dir.staging(),
            disk: disk.clone(),
            disk_bytes: wanted.disk,
            read_only_paths: self.plan.read_only_paths.clone(),
            shared_memory: holding.shared_memory,
            process_limits: holding.process,
            own_ids,
        };
        let applied = self.start(confinement)?;
        let info = &mut self.record.info;
        info.state = SandboxState::Running;
        info.home = Some(match means {
            Means::Namespaces => HOME.to_owned(),
            Means::Landlock | Means::Nothing => disk.join("home").display().to_string(),
        });
        info.isolation = Isolation {
            kind: means.as_str().to_owned(),
            applied,
        };
        info.limits = holding.limits;
        self.record.write(&self.dir).context("write the record")
    }

    /// Makes it by the next best means, after this answer to namespaces.
    fn make_without_namespaces(&mut self, refusal: Failure) -> Result<(), Failure> {
        tracing::warn!("namespaces are not permitted here, Landlock is taken instead: {refusal}");
        self.teardown.end_processes();
        self.make(Means::Landlock)
            .map_err(|failure| match failure.kind {
                FailureKind::Isolation => Failure {
                    message: format!("{}; and without namespaces, {failure}", refusal.message),
                    ..refusal.clone()
                },
                _ => failure,
            })?;
        self.record
            .info
            .isolation
            .applied
            .push(format!("in place of namespaces: {refusal}"));
        self.record.write(&self.dir).context("write the record")
    }

    /// Where it writes to: in the sandbox's directory, unless its user could not get there.
    fn make_disk(&mut self, means: Means, own_ids: Option<(u32, u32)>) -> io::Result<PathBuf> {
        let (disk, mode, tmp_mode) = match (means, own_ids) {
            (Means::Landlock, Some(_)) => {
                let disk = reachable_place().join(format!("sandbox-{}", self.plan.uid));
                self.teardown.disk = Some(disk.clone());
                // Known before it exists, as the groups are.
                self.record.disk = Some(disk.clone());
                self.record.write(&self.dir)?;
                (disk, 0o711, 0o700)
            }
            _ => (self.dir.disk(), 0o700, 0o1777),
        };
        match DirBuilder::new().mode(mode).create(&disk) {
            // Of the attempt before.
            Err(error)
                if error.kind() == io::ErrorKind::AlreadyExists && disk == self.dir.disk() =>
            {
                return Ok(disk);
            }
            made => made?,
        }
        // The modes given to mkdir are cut by the umask.
        fs::set_permissions(&disk, fs::Permissions::from_mode(mode))?;
        for (name, mode) in [("home", 0o700), ("tmp", tmp_mode)] {
            let path = disk.join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            if let Some((uid, gid)) = own_ids {
                chown(&path, Some(uid), Some(gid))?;
            }
        }
        Ok(disk)
    }

    /// Starts the first process inside and waits until it serves. Returns by which means it is
    /// confined.
    fn start(&mut self, confinement: Confinement) -> Result<Vec<String>, Failure> {
        let means = confinement.means;
        let (report, report_to) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        let (go, go_to) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        let listener = self.listener.try_clone().context("listen on the socket")?;
        let inside = Inside {
            plan: self.plan,
            confinement,
            listener,
            go,
            report: report_to,
        };
        if means != Means::Namespaces {
            self.teardown.has_stray_processes = true;
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .context("collect orphans")?;
        }
        if means == Means::Landlock {
            self.start_kept(inside, go_to)?;
        } else {
            let namespaces = if means == Means::Namespaces {
                sys::NEW_NAMESPACES
            } else {
                0
            };
            let pid = match sys::clone_process(namespaces).map_err(forbidden_namespaces)? {
                Cloned::Child => inside.run(),
                Cloned::Parent { pid, pidfd } => {
                    self.teardown.child = Some(pidfd);
                    pid
                }
            };
            // Our copies of its ends would keep us from seeing that it has ended.
            drop(inside);
            self.record.server = ProcessIdentity::of(pid)
                .map(Some)
                .context("look at the first process")?;
            if let Some(ids) = &self.teardown.ids {
                ids.write_maps(pid)?;
            }
            if let Some(group) = &self.teardown.cgroup {
                group.add(pid).context("put the sandbox under its limits")?;
            }
            File::from(go_to)
                .write_all(b"\n")
                .context("let the first process go on")?;
        }
        match hear(report, self.teardown, self.signals)? {
            Report::Serving(applied) => Ok(applied),
            Report::Failed(failure) => Err(failure),
        }
    }

    fn start_kept(&mut self, inside: Inside<'_>, go_to: OwnedFd) -> Result<(), Failure> {
        let (lifeline, lifeline_to) = pipe_with(PipeFlags::CLOEXEC).context("make a pipe")?;
        let held = self.teardown.held.as_ref();
        let held = held
            .ok_or_else(|| Failure::new(FailureKind::Other, "keep the lock", "it is not held"))?;
        let keeper = Keeper {
            lock: held.lock(),
            lifeline,
            go_to,
            group: self.teardown.cgroup.as_ref(),
        };
        let (pid, pidfd) = match sys::clone_process(0).context("start the keeper")? {
            Cloned::Child => keeper.run(inside),
            Cloned::Parent { pid, pidfd } => (pid, pidfd),
        };
        drop(keeper);
        self.teardown.child = Some(pidfd);
        self.teardown.lifeline = Some(lifeline_to);
        self.record.server = ProcessIdentity::of(pid)
            .map(Some)
            .context("look at the first process")?;
        Ok(())
    }
}

/// Where any user can get to, and files stay. Names in it are never guessed nor taken twice.
fn reachable_place() -> &'static Path {
    ["/var/tmp", "/tmp"]
        .map(Path::new)
        .into_iter()
        .find(|path| path.is_dir())
        .unwrap_or(Path::new("/tmp"))
}

/// All answers of clone(2) that mean that these namespaces are not to be had.
fn forbidden_namespaces(error: io::Error) -> Failure {
    use rustix::io::Errno;
    let refusals = [
        Errno::PERM,
        Errno::ACCESS,
        Errno::NOSPC,
        Errno::USERS,
        Errno::INVAL,
        Errno::NOSYS,
    ];
    let kind = match error.raw_os_error() {
        Some(number)
            if refusals
                .iter()
                .any(|refusal| refusal.raw_os_error() == number) =>
        {
            FailureKind::Forbidden
        }
        _ => FailureKind::Isolation,
    };
    Failure::new(kind, "make namespaces", error.to_string())
}

fn hear(report: OwnedFd, teardown: &Teardown, signals: &SignalFd) -> Result<Report, Failure> {
    const STEP: &str = "start the first process";
    let crashed = || {
        let log = teardown
            .dir()
            .and_then(|dir| fs::read_to_string(dir.log()).ok())
            .unwrap_or_default();
        Failure::new(
            FailureKind::Crashed,
            STEP,
            format!("it ended before it was ready {}", log.trim()).trim_end(),
        )
    };
    match wait::line(&mut File::from(report), teardown, signals) {
        Ok(Some(line)) => serde_json::from_slice(&line).context(STEP),
        Ok(None) | Err(Outcome::Ended | Outcome::Readable | Outcome::TimedOut) => Err(crashed()),
        Err(Outcome::Told) => Err(Failure::new(FailureKind::Other, STEP, "it was told to end")),
    }
}

fn info(plan: &Plan, dir: &SandboxDir) -> SandboxInfo {
    SandboxInfo {
        id: plan.id.clone(),
        uid: plan.uid.clone(),
        backend: crate::options::BACKEND.to_owned(),
        state: SandboxState::Pending,
        address: Some(dir.socket().display().to_string()),
        port: None,
        user: USER.to_owned(),
        home: None,
        image: None,
        labels: plan.labels.clone(),
        created_at: plan.created_at,
        expires_at: Some(later(plan.created_at, plan.lifetime.first_end())),
        isolation: Isolation {
            kind: plan.isolation.as_str().to_owned(),
            applied: Vec::new(),
        },
        limits: Vec::new(),
    }
}

/// A life too long for the calendar ends in a hundred years.
fn later(from: SystemTime, by: Duration) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    from.checked_add(by.min(CENTURY)).unwrap_or(from)
}

fn open_log(dir: &SandboxDir) -> io::Result<()> {
    let log = rustix::fs::open(
        dir.log(),
        OFlags::CREATE | OFlags::WRONLY | OFlags::APPEND | OFlags::CLOEXEC,
        Mode::RUSR | Mode::WUSR,
    )?;
    rustix::stdio::dup2_stderr(&log)?;
    let ours = Targets::new()
        .with_default(Level::WARN)
        .with_target("sandbox_local", Level::INFO);
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(io::stderr)
        .with_ansi(false);
    // A second subscriber is refused; the first then does the same work.
    drop(
        tracing_subscriber::registry()
            .with(lines)
            .with(ours.with_target("sandbox_sshd", Level::INFO))
            .try_init(),
    );
    Ok(())
}

/// Through a descriptor of its directory: the path may be longer than an address can hold.
fn listen(dir: &SandboxDir) -> io::Result<UnixListener> {
    let directory = File::open(dir.path())?;
    let through = format!(
        "/proc/self/fd/{}/ssh.sock",
        std::os::fd::AsRawFd::as_raw_fd(&directory.as_fd())
    );
    let listener = UnixListener::bind(through)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
