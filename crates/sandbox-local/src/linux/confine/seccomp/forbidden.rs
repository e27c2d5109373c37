//! The calls that no sandbox can make, whatever isolates it.

use nix::libc;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

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
    // Other processes' descriptors and memory policy. Tracing is allowed, as debuggers and sanitizers
    // need it: the server cannot be traced because it is not dumpable.
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
    // Asynchronous I/O, whose requests are limited for the whole machine (fs.aio-max-nr).
    libc::SYS_io_setup,
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
/// The same on x86_64 and aarch64 (asm-generic/ioctls.h).
const TIOCSETD: libc::Ioctl = 0x5423;
/// The bits of a socket's type; the others are flags.
const SOCKET_TYPE_MASK: u64 = 0xf;
/// SOCK_STREAM, SOCK_DGRAM and SOCK_RAW, which needs a capability.
const IP_SOCKET_TYPES: [u64; 3] = [1, 2, 3];

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

/// Lets a process change limits, scheduling and priority of itself only, which is pid 0. Otherwise
/// commands could lock out or kill their server, which has the same user id.
pub(super) fn own_process_rules() -> Result<Rules, Failure> {
    let is_other = |argument| condition(argument, SeccompCmpOp::Ne, 0);
    // Reading the limits of another process is harmless.
    let sets_limit = SeccompCondition::new(2, SeccompCmpArgLen::Qword, SeccompCmpOp::Ne, 0);
    let mut rules = vec![(
        libc::SYS_prlimit64,
        vec![rule_of([is_other(0), sets_limit])?],
    )];
    for call in [
        libc::SYS_sched_setaffinity,
        libc::SYS_sched_setattr,
        libc::SYS_sched_setparam,
        libc::SYS_sched_setscheduler,
    ] {
        rules.push((call, vec![rule_of([is_other(0)])?]));
    }
    // The arguments are a kind of id and the id; one kind is all processes of a user.
    let is_not_process = |process_kind| condition(0, SeccompCmpOp::Ne, process_kind);
    for (call, process_kind) in [(libc::SYS_setpriority, 0), (libc::SYS_ioprio_set, 1)] {
        rules.push((
            call,
            vec![
                rule_of([is_not_process(process_kind)])?,
                rule_of([is_other(1)])?,
            ],
        ));
    }
    Ok(rules)
}

/// Allows Unix and IP sockets, and of netlink only the protocol that lists interfaces. Of the IP
/// protocols only TCP, UDP and ICMP are allowed, because others would load rarely used kernel modules.
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
    let mut socket = vec![other_family()?, other_netlink];
    for family in [libc::AF_INET, libc::AF_INET6] {
        let is_family = || condition(0, SeccompCmpOp::Eq, u64::from(family.cast_unsigned()));
        let is_not = |protocol: libc::c_int| {
            condition(2, SeccompCmpOp::Ne, u64::from(protocol.cast_unsigned()))
        };
        socket.push(rule_of([
            is_family(),
            is_not(libc::IPPROTO_IP),
            is_not(libc::IPPROTO_TCP),
            is_not(libc::IPPROTO_UDP),
            is_not(libc::IPPROTO_ICMP),
            is_not(libc::IPPROTO_ICMPV6),
        ])?);
        // With protocol 0, the type selects the protocol.
        for kind in (0..=SOCKET_TYPE_MASK).filter(|kind| !IP_SOCKET_TYPES.contains(kind)) {
            let is_kind = condition(1, SeccompCmpOp::MaskedEq(SOCKET_TYPE_MASK), kind);
            socket.push(rule_of([is_family(), is_kind])?);
        }
    }
    Ok(vec![
        (libc::SYS_socket, socket),
        (libc::SYS_socketpair, vec![other_family()?]),
    ])
}

/// Forbids inserting input into a terminal, which another process may read, and line disciplines, which
/// would load rarely used kernel modules.
pub(super) fn terminal_rules() -> Result<Vec<SeccompRule>, Failure> {
    // The kernel ignores the upper 32 bits of the request.
    [libc::TIOCSTI, libc::TIOCLINUX, TIOCSETD]
        .map(|request| rule_of([condition(1, SeccompCmpOp::Eq, u64::from(request as u32))]))
        .into_iter()
        .collect()
}
