//! Drops privileges, and limits single processes.

use nix::libc;
use rustix::process::{self, Resource, Rlimit, Signal};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use super::mechanism::Mechanism;
use crate::linux::failure::{Failure, IoContext};

/// Empties every capability set of this process, for good.
pub(crate) fn drop_capabilities() -> Result<(), Failure> {
    empty_bounding_set().isolation_context("empty the capability bounding set")?;
    clear_capabilities()
}

/// Removes all capabilities from those that a program can gain, even with file capabilities. This
/// needs CAP_SETPCAP, which an unprivileged user lacks.
pub(crate) fn empty_bounding_set() -> rustix::io::Result<()> {
    // The kernel refuses the first unknown capability with EINVAL.
    for bit in 0..64 {
        match thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(1 << bit))
        {
            Ok(()) => {}
            Err(rustix::io::Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Empties the ambient, effective, permitted and inheritable sets.
pub(crate) fn clear_capabilities() -> Result<(), Failure> {
    thread::clear_ambient_capability_set().isolation_context("clear the ambient capabilities")?;
    let none = CapabilitySet::empty();
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    thread::set_capabilities(None, sets).isolation_context("drop the capabilities")
}

/// Prevents programs from gaining privileges that this process does not have.
pub(crate) fn set_no_new_privileges() -> Result<(), Failure> {
    thread::set_no_new_privs(true).isolation_context("set no_new_privs")
}

/// Protects the server from other processes of the same uid, which can then neither trace it nor read
/// its memory, environment and descriptors, and lets it die with its supervisor. This must follow the
/// last change of ids, which resets both.
pub(crate) fn guard_server() -> Result<(), Failure> {
    process::set_parent_process_death_signal(Some(Signal::KILL))
        .isolation_context("set the parent death signal")?;
    process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable)
        .isolation_context("make the server undumpable")
}

/// Makes orphaned descendants children of this process, as a pid namespace would.
pub(crate) fn become_subreaper() -> Result<(), Failure> {
    process::set_child_subreaper(Some(process::getpid()))
        .context("become the reaper of orphaned processes")
}

/// Limits of single processes, for the server and its descendants.
pub(crate) struct ProcessLimits {
    /// Private memory of each process, in bytes.
    pub(crate) data: Option<u64>,
    /// Processes and threads of this user in this user namespace.
    pub(crate) processes: Option<u64>,
}

impl ProcessLimits {
    /// Applies the limits. This must happen inside the new user namespace, so that the kernel counts
    /// only its processes.
    pub(crate) fn apply(&self) -> Result<(), Failure> {
        // The limit is 1 and not 0: only 1 also suppresses core dumps that the kernel pipes to a
        // program outside (core(5)).
        set_limit(Resource::Core, 1, "forbid core dumps")?;
        if let Some(bytes) = self.data {
            set_limit(Resource::Data, bytes, "limit each process's memory")?;
        }
        if let Some(count) = self.processes {
            set_limit(Resource::Nproc, count, "limit the number of processes")?;
        }
        Ok(())
    }
}

fn set_limit(resource: Resource, value: u64, step: &str) -> Result<(), Failure> {
    // An inherited hard limit that is lower must remain.
    let hard = process::getrlimit(resource)
        .maximum
        .map_or(value, |inherited| inherited.min(value));
    process::setrlimit(
        resource,
        Rlimit {
            current: Some(hard),
            maximum: Some(hard),
        },
    )
    .isolation_context(step)
}

/// Returns whether RLIMIT_NPROC inside counts only the processes of the sandbox.
pub(crate) fn has_exclusive_process_limit(mechanism: Mechanism, has_own_ids: bool) -> bool {
    match mechanism {
        Mechanism::Namespaces => has_own_ids || is_process_limit_per_namespace(),
        Mechanism::Landlock => has_own_ids,
        Mechanism::None => false,
    }
}

/// Returns whether RLIMIT_NPROC counts the processes of one user namespace only: since Linux 5.14.
fn is_process_limit_per_namespace() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// Unblocks the signals that the supervisor has blocked for itself.
pub(crate) fn unblock_signals() -> Result<(), Failure> {
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .context("reset the signal mask")
}

/// Drops all groups but `gid` and switches to `uid`. The ids are those inside.
pub(crate) fn become_user(
    uid: libc::uid_t,
    gid: libc::gid_t,
    can_set_groups: bool,
) -> Result<(), Failure> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if can_set_groups {
        thread::set_thread_groups(&[gid]).isolation_context("drop the groups")?;
    }
    thread::set_thread_res_gid(gid, gid, gid).isolation_context("switch to the sandbox's group")?;
    thread::set_thread_res_uid(uid, uid, uid).isolation_context("switch to the sandbox's user")
}
