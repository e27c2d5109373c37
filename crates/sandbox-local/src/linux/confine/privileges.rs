//! Giving up what a process could do more than its files allow.

use nix::libc;
use rustix::process::{self, Resource, Rlimit, Signal};
use rustix::thread::{self, CapabilitySet, CapabilitySets};

use crate::linux::failure::{Failure, IoContext};

/// Empties every capability set of this process, for good.
pub(crate) fn drop_capabilities() -> Result<(), Failure> {
    empty_bounding_set().isolation_context("empty the capability bounding set")?;
    clear_capabilities()
}

/// What no program started from here on can get, not even with file capabilities. It takes a
/// capability itself, that an ordinary user lacks.
pub(crate) fn empty_bounding_set() -> rustix::io::Result<()> {
    // What the kernel does not know is refused with EINVAL: that is where its list ends.
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

/// Empties the sets of what this process has and can take.
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

/// No program started from here on gets more rights than this process has.
pub(crate) fn no_new_privileges() -> Result<(), Failure> {
    thread::set_no_new_privs(true).isolation_context("set no_new_privs")
}

/// Others of the same uid can neither trace this process nor read its memory, environment and
/// descriptors; and it goes when its supervisor goes. After the last change of ids, which
/// resets both.
pub(crate) fn guard_server() -> Result<(), Failure> {
    process::set_parent_process_death_signal(Some(Signal::KILL))
        .isolation_context("be ended with the supervisor")?;
    process::set_dumpable_behavior(process::DumpableBehavior::NotDumpable)
        .isolation_context("keep the server's memory private")
}

/// Limits of single processes, for the server and all that it starts.
pub(crate) struct ProcessLimits {
    /// Bytes of private memory of each process.
    pub(crate) data: Option<u64>,
    /// Processes and threads of this user in this user namespace.
    pub(crate) processes: Option<u64>,
}

impl ProcessLimits {
    /// Applies them. Inside the new user namespace, so that only what is in it is counted.
    pub(crate) fn apply(&self) -> Result<(), Failure> {
        // One byte, not none: a core dump that the kernel pipes to a program outside is
        // suppressed by this value alone (core(5)).
        limit(Resource::Core, 1, "forbid core dumps")?;
        if let Some(bytes) = self.data {
            limit(Resource::Data, bytes, "limit each process's memory")?;
        }
        if let Some(count) = self.processes {
            limit(Resource::Nproc, count, "limit the number of processes")?;
        }
        Ok(())
    }
}

fn limit(resource: Resource, value: u64, step: &str) -> Result<(), Failure> {
    // A lower hard limit that was inherited stays.
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

/// Whether a limit on processes counts those of this user namespace alone: Linux 5.14.
pub(crate) fn process_limit_is_per_namespace() -> bool {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let mut numbers = release
        .split(['.', '-'])
        .map_while(|part| part.parse::<u32>().ok());
    (numbers.next(), numbers.next()) >= (Some(5), Some(14))
}

/// Lets children see the signals that the supervisor had blocked for itself.
pub(crate) fn unblock_signals() -> Result<(), Failure> {
    nix::sys::signal::SigSet::empty()
        .thread_set_mask()
        .context("reset the signal mask")
}

/// Gives up all groups but `gid`, and becomes `uid`; inside ids.
pub(crate) fn become_user(
    uid: libc::uid_t,
    gid: libc::gid_t,
    groups_can_be_set: bool,
) -> Result<(), Failure> {
    use rustix::process::{Gid, Uid};
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    if groups_can_be_set {
        thread::set_thread_groups(&[gid]).isolation_context("drop the groups")?;
    }
    thread::set_thread_res_gid(gid, gid, gid).isolation_context("take the sandbox's group")?;
    thread::set_thread_res_uid(uid, uid, uid).isolation_context("take the sandbox's user")
}
