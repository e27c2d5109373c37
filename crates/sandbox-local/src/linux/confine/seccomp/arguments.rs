//! The calls that are refused for some of their arguments, whatever isolates the sandbox.

use nix::libc;
use seccompiler::{SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompRule};

use super::rules::{Rules, condition, rule_of};
use crate::linux::failure::Failure;

/// The same on x86_64 and aarch64 (asm-generic/ioctls.h).
const TIOCSETD: libc::Ioctl = 0x5423;
/// The bits of a socket's type; the others are flags.
pub(super) const SOCKET_TYPE_MASK: u64 = 0xf;
/// SOCK_STREAM, SOCK_DGRAM and SOCK_RAW, which needs a capability.
const IP_SOCKET_TYPES: [u64; 3] = [1, 2, 3];

/// Forbids creating namespaces, in which a process would have all capabilities. `unshare` can only stop
/// sharing what threads share, so that a kind of namespace that a newer kernel has is refused, too.
pub(super) fn namespace_rules() -> Result<Rules, Failure> {
    let has = |bits: u64| rule_of([condition(0, SeccompCmpOp::MaskedEq(bits), bits)]);
    let clone = [
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWNS,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWNET,
        libc::CLONE_NEWCGROUP,
    ]
    .map(|flag| has(u64::from(flag.cast_unsigned())))
    .into_iter()
    .collect::<Result<_, _>>()?;
    let harmless = [
        libc::CLONE_FILES,
        libc::CLONE_FS,
        libc::CLONE_SIGHAND,
        libc::CLONE_SYSVSEM,
        libc::CLONE_THREAD,
        libc::CLONE_VM,
    ]
    .map(|flag| u64::from(flag.cast_unsigned()));
    let unshare = bits_of_32()
        .filter(|bit| !harmless.contains(bit))
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

/// Allows the personalities of Docker's profile, and switching off the randomisation of addresses, as
/// debuggers and ThreadSanitizer do. Others change how memory is mapped, and nothing needs them any more.
pub(super) fn personality_rules() -> Result<Vec<SeccompRule>, Failure> {
    // Asks for the present personality (personality(2)).
    const QUERY: u32 = 0xffff_ffff;
    const LINUX32: u64 = 0x8;
    const UNAME26: u64 = 0x2_0000;
    const NO_RANDOMISATION: u64 = 0x4_0000;
    bits_of_32()
        .filter(|bit| (LINUX32 | UNAME26 | NO_RANDOMISATION) & bit == 0)
        .map(|bit| {
            rule_of([
                condition(0, SeccompCmpOp::Ne, u64::from(QUERY)),
                condition(0, SeccompCmpOp::MaskedEq(bit), bit),
            ])
        })
        .collect()
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

fn bits_of_32() -> impl Iterator<Item = u64> {
    (0..u32::BITS).map(|bit| 1 << bit)
}
