//! What Landlock leaves open, and what is shared where there are no namespaces.

use nix::libc;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition};

use super::{Rules, all, condition};
use crate::linux::failure::{Failure, IoContext};

/// Refused whatever the arguments.
pub(super) const FORBIDDEN: &[libc::c_long] = &[
    // Ways to other processes. The server has the socket it listens on already.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // IPC objects have no path, so Landlock knows nothing of them.
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_shmctl,
    libc::SYS_semget,
    libc::SYS_semop,
    libc::SYS_semtimedop,
    libc::SYS_semctl,
    libc::SYS_msgget,
    libc::SYS_msgsnd,
    libc::SYS_msgrcv,
    libc::SYS_msgctl,
    libc::SYS_mq_open,
    libc::SYS_mq_unlink,
    // Tells what happens in directories that cannot be opened.
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_inotify_init,
];

/// Refused where the user id is that of the caller: his files and processes could be changed.
/// All that take a path; by descriptor, only what could be opened can be changed.
const WITH_THE_CALLERS_ID: &[libc::c_long] = &[
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    libc::SYS_fchmodat,
    SYS_FCHMODAT2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    libc::SYS_fchownat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_utimes,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_futimesat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    SYS_SETXATTRAT,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    SYS_REMOVEXATTRAT,
    SYS_FILE_SETATTR,
];

/// Refused to commands for the same reason: a file that is shown to be read can be the caller's.
/// The server keeps them, which sets what an upload comes with on what it has just written.
pub(super) const OF_THE_CALLERS_FILES: &[libc::c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
];

/// Not in the C library's list everywhere; the numbers are the same on all architectures.
const SYS_FCHMODAT2: libc::c_long = 452;
const SYS_SETXATTRAT: libc::c_long = 463;
const SYS_REMOVEXATTRAT: libc::c_long = 466;
const SYS_FILE_SETATTR: libc::c_long = 469;

/// Refused for some arguments.
pub(super) fn rules(own_ids: bool) -> Result<Rules, Failure> {
    let mut rules: Rules = vec![(libc::SYS_socketpair, pairs()?)];
    if own_ids {
        return Ok(rules);
    }
    rules.extend(WITH_THE_CALLERS_ID.iter().map(|call| (*call, vec![])));
    let given = |argument| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0)
            .and_then(|given| seccompiler::SeccompRule::new(vec![given]))
            .isolation_context("make a seccomp filter")
    };
    // Without a path it is about a descriptor.
    rules.push((libc::SYS_utimensat, vec![given(1)?]));
    let other = |argument| all([condition(argument, SeccompCmpOp::Ne, 0)]);
    // Only of the process itself, which is number 0.
    for call in [
        libc::SYS_prlimit64,
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        rules.push((call, vec![other(0)?]));
    }
    // Which kind of number, then the number; all processes of the user are a kind.
    rules.push((libc::SYS_setpriority, vec![other(0)?, other(1)?]));
    let io_kinds_but_process = all([condition(0, SeccompCmpOp::Ne, 1)])?;
    rules.push((libc::SYS_ioprio_set, vec![io_kinds_but_process, other(1)?]));
    Ok(rules)
}

/// Connected pairs only: an end of a datagram pair can send to any socket it can name.
fn pairs() -> Result<Vec<seccompiler::SeccompRule>, Failure> {
    const KIND: u64 = 0xf;
    let unix = u64::from(libc::AF_UNIX.cast_unsigned());
    let mut rules = vec![all([condition(0, SeccompCmpOp::Ne, unix)])?];
    for kind in (0..=KIND).filter(|kind| {
        [libc::SOCK_STREAM, libc::SOCK_SEQPACKET]
            .iter()
            .all(|safe| u64::from(safe.cast_unsigned()) != *kind)
    }) {
        rules.push(all([condition(1, SeccompCmpOp::MaskedEq(KIND), kind)])?);
    }
    Ok(rules)
}
