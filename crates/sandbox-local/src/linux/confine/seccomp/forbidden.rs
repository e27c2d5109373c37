//! The calls that no sandbox can make, whatever isolates it.

use nix::libc;
use seccompiler::{SeccompCmpOp, SeccompRule};

use super::rules::{Rules, condition, rule_of};
use crate::linux::failure::Failure;

/// The newest call that this list takes into account: file_setattr, of Linux 6.17. Its number is
/// the same on all architectures.
pub(super) const LAST_KNOWN_CALL: u32 = 469;

/// The calls that are refused whatever their arguments are.
pub(super) const FORBIDDEN: &[libc::c_long] = &[
    // Mounts and roots.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_quotactl,
    SYS_QUOTACTL_FD,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    // Namespaces; the flags of unshare and clone are in `namespace_rules`.
    libc::SYS_setns,
    // Other processes' memory and descriptors.
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_process_madvise,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_move_pages,
    libc::SYS_migrate_pages,
    // Access to files by inode, which bypasses the mounts that hide them.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Keyrings, which belong to none of the namespaces.
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    // Large parts of the kernel that few programs need.
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_userfaultfd,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_lookup_dcookie,
    libc::SYS_vhangup,
    libc::SYS_nfsservctl,
    // The whole machine.
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_acct,
    libc::SYS_syslog,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// The C library does not define the number on every architecture; it is the same on all.
const SYS_QUOTACTL_FD: libc::c_long = 443;

/// Forbids creating namespaces, in which a process would have all capabilities.
pub(super) fn namespace_rules() -> Result<Rules, Failure> {
    // The bit of CLONE_NEWTIME is part of the signal number in the flags of clone.
    const NEW_TIME: libc::c_int = 0x80;
    let flags = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ];
    let has = |flag: libc::c_int| {
        let bits = u64::from(flag.cast_unsigned());
        rule_of([condition(0, SeccompCmpOp::MaskedEq(bits), bits)])
    };
    let clone = flags.into_iter().map(has).collect::<Result<_, _>>()?;
    let unshare = flags
        .into_iter()
        .chain([NEW_TIME])
        .map(has)
        .collect::<Result<_, _>>()?;
    Ok(vec![(libc::SYS_clone, clone), (libc::SYS_unshare, unshare)])
}

/// Allows Unix and IP sockets, and of netlink only the protocol that lists interfaces.
pub(super) fn socket_rules() -> Result<Rules, Failure> {
    const ALLOWED: [libc::c_int; 4] = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let other_family = || {
        rule_of(
            ALLOWED.map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))),
        )
    };
    let other_netlink = rule_of([
        condition(
            0,
            SeccompCmpOp::Eq,
            u64::from(libc::AF_NETLINK.cast_unsigned()),
        ),
        condition(
            2,
            SeccompCmpOp::Ne,
            u64::from(libc::NETLINK_ROUTE.cast_unsigned()),
        ),
    ])?;
    Ok(vec![
        (libc::SYS_socket, vec![other_family()?, other_netlink]),
        (libc::SYS_socketpair, vec![other_family()?]),
    ])
}

/// Forbids inserting input into a terminal, which another process may read.
pub(super) fn terminal_rules() -> Result<Vec<SeccompRule>, Failure> {
    // The kernel ignores the upper 32 bits of the request.
    [libc::TIOCSTI, libc::TIOCLINUX]
        .map(|request| rule_of([condition(1, SeccompCmpOp::Eq, u64::from(request as u32))]))
        .into_iter()
        .collect()
}
