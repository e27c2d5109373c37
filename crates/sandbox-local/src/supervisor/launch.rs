//! Making a sandbox, step by step. Each part is among the remains as soon as it exists.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt, chown};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use nix::sys::signalfd::SignalFd;
use rustix::fs::{Mode, OFlags};
use rustix::pipe::{PipeFlags, pipe_with};
use sandbox_core::{Isolation, PrivateKey, SandboxInfo, SandboxState};
use tracing::Level;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::inside::Inside;
use super::limits::Wanted;
use super::remains::Remains;
use super::wait::{self, Outcome};
use crate::IsolationLevel;
use crate::cgroup::Cgroup;
use crate::confine::{Confinement, HOME, OutsideIds, USER};
use crate::dead::clear_dead;
use crate::failure::{During, Failure, FailureKind};
use crate::identity::Identity;
use crate::plan::{Plan, Report};
use crate::record::Record;
use crate::remove::create_private;
use crate::state::{Held, SandboxDir, StateDir, private_directories};
use crate::sys::{self, Cloned};

/// Makes the sandbox; when it returns, its server accepts connections.
pub(super) fn launch(plan: &Plan, signals: &SignalFd, remains: &mut Remains) -> Result<SandboxInfo, Failure> {
    let wanted = Wanted::of(plan)?;
    let state = StateDir::new(plan.state_dir.clone());
    let held = claim(&state, plan).during(format!("make {}", state.sandbox(&plan.id).path().display()))?;
    let held = held.ok_or_else(|| Failure::new(FailureKind::AlreadyExists, "take the id", "it is taken"))?;
    let dir = held.dir().clone();
    remains.held = Some(held);
    open_log(&dir).during("open the log")?;

    let host_key = PrivateKey::from_openssh(plan.host_key.clone())
        .and_then(|key| key.public_key())
        .during("read the host key")?;
    let mut group = Cgroup::plan(&format!("sandbox-{}-{}", plan.id, plan.uid), wanted.tree);
    let mut record =
        Record::new(info(plan, &dir), later(plan.created_at, plan.lifetime.max_lifetime), &host_key);
    // Known before it exists, so that a sweep finds it whatever happens.
    record.cgroups = group.directories().to_vec();
    record.write(&dir).during("write the record")?;
    create_private(&dir.client_key_file())
        .and_then(|mut file| file.write_all(plan.client_key.as_bytes()))
        .during("keep the key")?;

    let ids = match plan.isolation {
        IsolationLevel::Namespaces => Some(OutsideIds::choose()?),
        IsolationLevel::None => None,
    };
    let own_ids = ids.as_ref().is_some_and(|ids| ids.own);
    remains.ids = ids;
    make_disk(&dir, remains.ids.as_ref()).during("make the sandbox's directories")?;
    let listener = listen(&dir).during("listen on the socket")?;
    let holding = wanted.apply(plan, &mut group, own_ids);
    record.cgroups = group.directories().to_vec();
    remains.cgroup = Some(group);
    let holding = holding?;

    let confinement = Confinement {
        level: plan.isolation,
        hostname: plan.id.to_string(),
        staging: dir.staging(),
        disk: dir.disk(),
        disk_bytes: wanted.disk,
        read_only_paths: plan.read_only_paths.clone(),
        shared_memory: holding.shared_memory,
        process_limits: holding.process,
        own_ids,
    };
    let applied = start(plan, confinement, listener, signals, remains, &mut record)?;

    record.info.state = SandboxState::Running;
    record.info.isolation = Isolation { kind: plan.isolation.as_str().to_owned(), applied };
    record.info.limits = holding.limits;
    record.write(&dir).during("write the record")?;
    Ok(record.info)
}

/// Takes the id; from a dead sandbox too, once what it left is removed.
fn claim(state: &StateDir, plan: &Plan) -> io::Result<Option<Held>> {
    match state.claim(&plan.id)? {
        None if clear_dead(state, &plan.id)? => state.claim(&plan.id),
        claimed => Ok(claimed),
    }
}

/// Starts the first process inside and waits until it serves. Returns by which means it is
/// confined.
fn start(
    plan: &Plan,
    confinement: Confinement,
    listener: UnixListener,
    signals: &SignalFd,
    remains: &mut Remains,
    record: &mut Record,
) -> Result<Vec<String>, Failure> {
    let (report, report_to) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
    let (go, go_to) = pipe_with(PipeFlags::CLOEXEC).during("make a pipe")?;
    let namespaces = match confinement.level {
        IsolationLevel::Namespaces => sys::NEW_NAMESPACES,
        IsolationLevel::None => {
            remains.has_stray_processes = true;
            rustix::process::set_child_subreaper(Some(rustix::process::getpid()))
                .during("collect orphans")?;
            0
        }
    };
    let inside = Inside { plan, confinement, listener, go, report: report_to };
    let pid = match sys::clone_process(namespaces).isolating("make namespaces").map_err(with_advice)? {
        Cloned::Child => inside.run(),
        Cloned::Parent { pid, pidfd } => {
            remains.child = Some(pidfd);
            pid
        }
    };
    // Our copies of its ends would keep us from seeing that it has ended.
    drop(inside);
    record.server = Identity::of(pid).map(Some).during("look at the first process")?;
    if let Some(ids) = &remains.ids {
        ids.write_maps(pid).map_err(with_advice)?;
    }
    if let Some(group) = &remains.cgroup {
        group.add(pid).during("put the sandbox under its limits")?;
    }
    File::from(go_to).write_all(b"\n").during("let the first process go on")?;
    match hear(report, remains, signals)? {
        Report::Serving(applied) => Ok(applied),
        Report::Failed(failure) => Err(with_advice(failure)),
    }
}

fn hear(report: OwnedFd, remains: &Remains, signals: &SignalFd) -> Result<Report, Failure> {
    const STEP: &str = "start the first process";
    let crashed = || {
        let log = remains.dir().and_then(|dir| fs::read_to_string(dir.log()).ok()).unwrap_or_default();
        Failure::new(
            FailureKind::Crashed,
            STEP,
            format!("it ended before it was ready {}", log.trim()).trim_end(),
        )
    };
    match wait::line(&mut File::from(report), remains, signals) {
        Ok(Some(line)) => serde_json::from_slice(&line).during(STEP),
        Ok(None) | Err(Outcome::Ended | Outcome::Readable | Outcome::TimedOut) => Err(crashed()),
        Err(Outcome::Told) => Err(Failure::new(FailureKind::Other, STEP, "it was told to end")),
    }
}

fn info(plan: &Plan, dir: &SandboxDir) -> SandboxInfo {
    let home = match plan.isolation {
        IsolationLevel::Namespaces => HOME.to_owned(),
        IsolationLevel::None => dir.disk().join("home").display().to_string(),
    };
    SandboxInfo {
        id: plan.id.clone(),
        uid: plan.uid.clone(),
        backend: crate::BACKEND.to_owned(),
        state: SandboxState::Pending,
        address: Some(dir.socket().display().to_string()),
        port: None,
        user: USER.to_owned(),
        home: Some(home),
        image: None,
        labels: plan.labels.clone(),
        created_at: plan.created_at,
        expires_at: Some(later(plan.created_at, plan.lifetime.first_end())),
        isolation: Isolation { kind: plan.isolation.as_str().to_owned(), applied: Vec::new() },
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
    let ours = Targets::new().with_default(Level::WARN).with_target("sandbox_local", Level::INFO);
    let lines = tracing_subscriber::fmt::layer().with_writer(io::stderr).with_ansi(false);
    // A second subscriber is refused; the first then does the same work.
    drop(
        tracing_subscriber::registry()
            .with(lines)
            .with(ours.with_target("sandbox_sshd", Level::INFO))
            .try_init(),
    );
    Ok(())
}

fn make_disk(dir: &SandboxDir, ids: Option<&OutsideIds>) -> io::Result<()> {
    private_directories().create(dir.staging())?;
    DirBuilder::new().mode(0o700).create(dir.disk())?;
    for (name, mode) in [("home", 0o700), ("tmp", 0o1777)] {
        let path = dir.disk().join(name);
        fs::create_dir(&path)?;
        // The mode given to mkdir is cut by the umask.
        fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
        if let Some(ids) = ids.filter(|ids| ids.own) {
            chown(&path, Some(ids.uid), Some(ids.gid))?;
        }
    }
    Ok(())
}

/// Through a descriptor of its directory: the path may be longer than an address can hold.
fn listen(dir: &SandboxDir) -> io::Result<UnixListener> {
    let directory = File::open(dir.path())?;
    let through = format!("/proc/self/fd/{}/ssh.sock", std::os::fd::AsRawFd::as_raw_fd(&directory.as_fd()));
    let listener = UnixListener::bind(through)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Says what to change where the system forbids user namespaces.
fn with_advice(mut failure: Failure) -> Failure {
    if failure.kind != FailureKind::Isolation {
        return failure;
    }
    let is = |file: &str, value: &str| fs::read_to_string(file).is_ok_and(|content| content.trim() == value);
    let advice = if is("/proc/sys/kernel/unprivileged_userns_clone", "0") {
        "user namespaces are forbidden to ordinary users: sysctl kernel.unprivileged_userns_clone=1"
    } else if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") {
        "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or a profile for this program that allows userns"
    } else if is("/proc/sys/user/max_user_namespaces", "0") {
        "user namespaces are switched off: sysctl user.max_user_namespaces=10000"
    } else {
        "inside a container, user namespaces, mounts and a full /proc may be forbidden: see docker run --security-opt seccomp=unconfined --security-opt systempaths=unconfined"
    };
    failure.message = format!(
        "{} ({advice}; the isolation level none works anywhere and isolates nothing, and must be asked for by name)",
        failure.message
    );
    failure
}
