//! Creates a sandbox step by step. Each part is added to the teardown as soon as it exists.

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixListener;
use std::time::{Duration, SystemTime};

use nix::sys::signalfd::SignalFd;
use sandbox_core::{Isolation, PrivateKey, SandboxInfo, SandboxState};

use super::attempt::Attempt;
use super::isolation_hints::add_hints;
use super::limits::RequestedLimits;
use super::log::open_log;
use super::teardown::Teardown;
use crate::linux::cgroup::Cgroup;
use crate::linux::confine::{Mechanism, OutsideIds};
use crate::linux::failure::{Failure, FailureKind, IoContext};
use crate::linux::protocol::Plan;
use crate::linux::reclaim::reclaim;
use crate::linux::record::Record;
use crate::linux::state::{
    LockedDir, SandboxDir, StateDir, create_private_file, private_dir_builder,
};
use crate::options::{BACKEND, IsolationLevel};

/// Creates the sandbox. When this returns, its server accepts connections.
pub(super) fn launch(
    plan: &Plan,
    signals: &SignalFd,
    teardown: &mut Teardown,
) -> Result<SandboxInfo, Failure> {
    let mechanism = Mechanism::first_for_level(plan.isolation);
    let requested = RequestedLimits::from_plan(plan, mechanism)?;

    // The directory and the log.
    let state = StateDir::new(plan.state_dir.clone());
    let locked = claim(&state, plan)
        .context(format!(
            "create {}",
            state.sandbox(&plan.id).path().display()
        ))?
        .ok_or_else(|| Failure::new(FailureKind::AlreadyExists, "claim the id", "it is in use"))?;
    let dir = locked.dir().clone();
    teardown.locked_dir = Some(locked);
    open_log(&dir).context("open the log")?;

    // The record names the control groups before they exist, so that a sweep finds them whatever
    // happens.
    let host_key = PrivateKey::from_openssh(plan.host_key.clone())
        .and_then(|key| key.public_key())
        .context("read the host key")?;
    let mut group = Cgroup::plan(&format!("sandbox-{}-{}", plan.id, plan.uid), requested.tree);
    let hard_end = add_saturating(plan.created_at, plan.lifetime.max_lifetime);
    let mut record = Record::new(pending_info(plan, &dir), hard_end, &host_key);
    record.cgroups = group.directories().to_vec();
    record.write(&dir).context("write the record")?;
    create_private_file(&dir.client_key_file())
        .and_then(|mut file| file.write_all(plan.client_key.as_bytes()))
        .context("store the client key")?;

    // The user, the socket and the control group.
    if mechanism != Mechanism::None {
        teardown.ids = Some(OutsideIds::choose()?);
    }
    private_dir_builder()
        .create(dir.staging())
        .context("create the sandbox's directories")?;
    let listener = listen(&dir).context("listen on the socket")?;
    let applied_by = group.create(requested.tree);
    record.cgroups = group.directories().to_vec();
    teardown.cgroup = Some(group);

    // The server process.
    let mut attempt = Attempt {
        plan,
        signals,
        teardown,
        listener,
        applied_by,
        record,
        dir,
    };
    let result = match attempt.run(mechanism) {
        Err(refusal)
            if refusal.kind == FailureKind::Forbidden && plan.isolation == IsolationLevel::Auto =>
        {
            attempt.run_without_namespaces(refusal)
        }
        result => result,
    };
    result.map_err(|failure| add_hints(failure, plan.isolation))?;
    Ok(attempt.record.info)
}

/// Claims the id. If an ended sandbox has it, that one is cleaned up first.
fn claim(state: &StateDir, plan: &Plan) -> io::Result<Option<LockedDir>> {
    match state.claim(&plan.id)? {
        None if reclaim(state, &plan.id)? => state.claim(&plan.id),
        claimed => Ok(claimed),
    }
}

/// Describes the sandbox before it runs.
fn pending_info(plan: &Plan, dir: &SandboxDir) -> SandboxInfo {
    SandboxInfo {
        id: plan.id.clone(),
        uid: plan.uid.clone(),
        backend: BACKEND.to_owned(),
        state: SandboxState::Pending,
        address: Some(dir.socket().display().to_string()),
        port: None,
        user: plan.user.clone(),
        home: None,
        image: None,
        labels: plan.labels.clone(),
        annotations: plan.annotations.clone(),
        created_at: plan.created_at,
        expires_at: Some(add_saturating(plan.created_at, plan.lifetime.first_end())),
        on_expiry: plan.lifetime.on_expiry,
        is_marked_paused: false,
        isolation: Isolation {
            kind: plan.isolation.as_str().to_owned(),
            applied: Vec::new(),
        },
        limits: Vec::new(),
        end: None,
        pool: None,
    }
}

/// Adds a duration of at most a century, so that every end can be represented.
fn add_saturating(time: SystemTime, duration: Duration) -> SystemTime {
    const CENTURY: Duration = Duration::from_secs(100 * 365 * 86_400);
    time.checked_add(duration.min(CENTURY)).unwrap_or(time)
}

/// Listens through a descriptor of the directory, whose path may be longer than an address can be.
fn listen(dir: &SandboxDir) -> io::Result<UnixListener> {
    let directory = File::open(dir.path())?;
    let path = format!("/proc/self/fd/{}/ssh.sock", directory.as_fd().as_raw_fd());
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}
