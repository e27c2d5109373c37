//! The additional calls that a sandbox without namespaces cannot make: those that Landlock does not
//! restrict, and those that reach resources which namespaces would separate.

use nix::libc;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::arguments::SOCKET_TYPE_MASK;
use super::numbers::*;
use super::rules::{Rules, condition, rule_of};
use super::table::{CallTable, Verdict};
use crate::linux::failure::Failure;

/// The calls that are refused with any arguments.
const FORBIDDEN: &[libc::c_long] = &[
    // Sockets, which reach other processes. The server inherits the one that it listens on.
    libc::SYS_socket,
    libc::SYS_connect,
    libc::SYS_bind,
    libc::SYS_listen,
    // Tracing. Landlock allows it within a domain only, but without a pid namespace the processes of the
    // caller are one mistake away.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    // IPC objects, which have no path and so are not restricted by Landlock.
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
    // inotify, which reports changes in directories that cannot be opened.
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_inotify_init,
    // The machine's mounts.
    SYS_STATMOUNT,
    SYS_LISTMOUNT,
];

/// The calls that are also refused if the sandbox has the caller's user id, because they could change
/// the caller's files. These take a path; by descriptor, only files that can be opened are reached.
const PATH_ATTRIBUTE_CALLS: &[libc::c_long] = &[
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

/// The calls that are refused to commands for the same reason, because a file that is mounted to be
/// read can be the caller's. The server needs them to set the attributes of uploaded files.
pub(super) const FILE_ATTRIBUTE_CALLS: &[libc::c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_fchown,
    libc::SYS_fsetxattr,
    libc::SYS_fremovexattr,
];

/// The calls that are reported as unsupported if the sandbox has the caller's user id, because they read
/// extended attributes of files that cannot be opened. Programs such as `ls` and `cp` ignore that error.
const PATH_XATTR_READS: &[libc::c_long] = &[
    libc::SYS_getxattr,
    libc::SYS_lgetxattr,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    SYS_GETXATTRAT,
    SYS_LISTXATTRAT,
    SYS_FILE_GETATTR,
];

/// Takes the calls out of the table that are refused whatever their arguments are.
pub(super) fn restrict(table: &mut CallTable, has_own_ids: bool) {
    table.set(FORBIDDEN, Verdict::Fails(libc::EPERM));
    if !has_own_ids {
        table.set(PATH_ATTRIBUTE_CALLS, Verdict::Fails(libc::EPERM));
        table.set(PATH_XATTR_READS, Verdict::Fails(libc::EOPNOTSUPP));
    }
}

/// Returns the rules for calls that are refused for some of their arguments.
pub(super) fn rules(has_own_ids: bool) -> Result<Rules, Failure> {
    let mut rules: Rules = vec![(libc::SYS_socketpair, socket_pair_rules()?)];
    if has_own_ids {
        return Ok(rules);
    }
    let is_not_null = |argument| {
        rule_of([SeccompCondition::new(
            argument,
            SeccompCmpArgLen::Qword,
            SeccompCmpOp::Ne,
            0,
        )])
    };
    // Without a path, the call changes the file of a descriptor.
    rules.push((libc::SYS_utimensat, vec![is_not_null(1)?]));
    Ok(rules)
}

/// Allows connected pairs only: an end of a datagram pair could send to any other socket.
fn socket_pair_rules() -> Result<Vec<SeccompRule>, Failure> {
    let unix = u64::from(libc::AF_UNIX.cast_unsigned());
    let mut rules = vec![rule_of([condition(0, SeccompCmpOp::Ne, unix)])?];
    for kind in (0..=SOCKET_TYPE_MASK).filter(|kind| {
        [libc::SOCK_STREAM, libc::SOCK_SEQPACKET]
            .iter()
            .all(|safe| u64::from(safe.cast_unsigned()) != *kind)
    }) {
        rules.push(rule_of([condition(
            1,
            SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK),
            kind,
        )])?);
    }
    Ok(rules)
}
