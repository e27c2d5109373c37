//! Which system calls the inside may not make.
//!
//! Namespaces and the lack of capabilities already forbid what most of these would do; the
//! filter takes away the kernel code behind them, which is where such walls have broken.

mod landlock;

use std::collections::BTreeMap;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, sock_filter,
};

use crate::linux::failure::{Failure, IoContext};

/// The filters, to be installed one after the other; each call gets the strictest answer.
pub(crate) struct Filters(Vec<BpfProgram>);

impl Filters {
    /// Builds those for the inside of namespaces.
    pub(crate) fn build() -> Result<Self, Failure> {
        Self::with(socket_rules()?, &[])
    }

    /// Builds those for where nothing but Landlock is between a sandbox and the system;
    /// `own_ids` when no other process has its user id.
    pub(crate) fn build_for_landlock(own_ids: bool) -> Result<Self, Failure> {
        let rules = landlock::rules(own_ids)?;
        Self::with(rules, landlock::FORBIDDEN)
    }

    /// Builds those for commands alone, not their server, of a sandbox with the caller's user id.
    pub(crate) fn build_for_commands_of_the_caller() -> Result<Self, Failure> {
        let rules = landlock::OF_THE_CALLERS_FILES
            .iter()
            .map(|call| (*call, vec![]))
            .collect();
        refuse(libc::EPERM, rules).map(|program| Self(vec![program]))
    }

    fn with(more_rules: Rules, more_forbidden: &[libc::c_long]) -> Result<Self, Failure> {
        // glibc falls back from clone3, whose flags a filter cannot see, to clone only when
        // it is told that there is no such call.
        let absent = refuse(libc::ENOSYS, [(libc::SYS_clone3, vec![])].into())?;
        let mut rules: BTreeMap<_, _> = FORBIDDEN
            .iter()
            .chain(more_forbidden)
            .map(|call| (*call, vec![]))
            .collect();
        rules.extend(namespace_rules()?);
        rules.extend(more_rules);
        rules.insert(libc::SYS_ioctl, terminal_rules()?);
        Ok(Self(vec![
            unknown_calls(),
            absent,
            refuse(libc::EPERM, rules)?,
        ]))
    }

    /// Installs them for this thread and all that come from it; sets no_new_privs.
    pub(crate) fn install(&self) -> Result<(), Failure> {
        self.0
            .iter()
            .try_for_each(|program| seccompiler::apply_filter(program))
            .isolation_context("install the seccomp filter")
    }
}

fn refuse(
    errno: i32,
    rules: BTreeMap<libc::c_long, Vec<SeccompRule>>,
) -> Result<BpfProgram, Failure> {
    let arch =
        TargetArch::try_from(std::env::consts::ARCH).isolation_context("make a seccomp filter")?;
    let action = SeccompAction::Errno(errno.cast_unsigned());
    SeccompFilter::new(rules, SeccompAction::Allow, action, arch)
        .and_then(BpfProgram::try_from)
        .isolation_context("make a seccomp filter")
}

/// The last call that this list was made for: file_setattr, of Linux 6.17. Its number is the
/// same on all architectures.
const LAST_KNOWN_CALL: u32 = 469;

const FORBIDDEN: &[libc::c_long] = &[
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
    // Namespaces; unshare and clone are looked at by their flags.
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
    // Files by inode, past the mounts that hide them.
    libc::SYS_open_by_handle_at,
    libc::SYS_name_to_handle_at,
    // Keyrings are not in any namespace of ours.
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
    // The machine itself.
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

/// Not in the C library's list on every architecture; the number is the same on all.
const SYS_QUOTACTL_FD: libc::c_long = 443;

type Rules = Vec<(libc::c_long, Vec<SeccompRule>)>;

/// No new namespaces: with one, a process has all capabilities over what is in it.
fn namespace_rules() -> Result<Rules, Failure> {
    // CLONE_NEWTIME has the bit of a signal number, so that clone cannot take it.
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
        all([condition(0, SeccompCmpOp::MaskedEq(bits), bits)])
    };
    let clone = flags.into_iter().map(has).collect::<Result<_, _>>()?;
    let unshare = flags
        .into_iter()
        .chain([NEW_TIME])
        .map(has)
        .collect::<Result<_, _>>()?;
    Ok(vec![(libc::SYS_clone, clone), (libc::SYS_unshare, unshare)])
}

/// Sockets between processes and to networks; of netlink, only what lists interfaces.
fn socket_rules() -> Result<Rules, Failure> {
    const ALLOWED: [libc::c_int; 4] = [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_INET6,
        libc::AF_NETLINK,
    ];
    let other_family = || {
        all(ALLOWED.map(|family| condition(0, SeccompCmpOp::Ne, u64::from(family.cast_unsigned()))))
    };
    let other_netlink = all([
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

/// No typing into a terminal that another process reads.
fn terminal_rules() -> Result<Vec<SeccompRule>, Failure> {
    // The kernel looks at 32 bits of the request only.
    [libc::TIOCSTI, libc::TIOCLINUX]
        .map(|request| all([condition(1, SeccompCmpOp::Eq, u64::from(request as u32))]))
        .into_iter()
        .collect()
}

fn condition(
    argument: u8,
    operator: SeccompCmpOp,
    value: u64,
) -> Result<SeccompCondition, seccompiler::BackendError> {
    SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)
}

fn all<const N: usize>(
    conditions: [Result<SeccompCondition, seccompiler::BackendError>; N],
) -> Result<SeccompRule, Failure> {
    let conditions = conditions.into_iter().collect::<Result<_, _>>();
    conditions
        .and_then(SeccompRule::new)
        .isolation_context("make a seccomp filter")
}

/// Calls newer than the list do not exist in here, nor do the second numbers (from 2^30) that
/// x86_64 has for every call, which a list of numbers would miss.
fn unknown_calls() -> BpfProgram {
    const LOAD_WORD: u16 = 0x20;
    const JUMP_IF_ABOVE: u16 = 0x25;
    const RETURN: u16 = 0x06;
    const RETURN_ERRNO: u32 = 0x0005_0000;
    const RETURN_ALLOW: u32 = 0x7fff_0000;
    let step = |code, jt, k| sock_filter { code, jt, jf: 0, k };
    vec![
        step(LOAD_WORD, 0, 0),
        step(JUMP_IF_ABOVE, 1, LAST_KNOWN_CALL),
        step(RETURN, 0, RETURN_ALLOW),
        step(RETURN, 0, RETURN_ERRNO | libc::ENOSYS.cast_unsigned()),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_filters_can_be_built_and_are_of_a_size_the_kernel_takes() {
        for filters in [
            Filters::build(),
            Filters::build_for_landlock(true),
            Filters::build_for_landlock(false),
        ] {
            let Filters(programs) = filters.unwrap();
            assert_eq!(programs.len(), 3);
            assert!(
                programs
                    .iter()
                    .all(|program| !program.is_empty() && program.len() < 4096)
            );
        }
    }
}
