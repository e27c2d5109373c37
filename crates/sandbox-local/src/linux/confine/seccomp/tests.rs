//! What the filters decide, evaluated as the kernel does.

use std::collections::BTreeSet;

use nix::libc::{self, c_long};
use seccompiler::{BpfProgram, sock_filter};

use super::Filters;
use super::allowed::GROUPS;

const ALLOW: u32 = 0x7fff_0000;
const KILL_PROCESS: u32 = 0x8000_0000;
const ERRNO: u32 = 0x0005_0000;

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

/// Runs a classic BPF program on `struct seccomp_data`, and returns its result.
fn run(program: &[sock_filter], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
    let mut data = Vec::new();
    data.extend(number.to_ne_bytes());
    data.extend(architecture.to_ne_bytes());
    data.extend(0_u64.to_ne_bytes());
    for argument in arguments {
        data.extend(argument.to_ne_bytes());
    }
    let mut accumulator = 0_u32;
    let mut place = 0;
    loop {
        let step = &program[place];
        place += 1;
        let is_true = match step.code {
            0x20 => {
                let at = step.k as usize;
                accumulator = u32::from_ne_bytes(data[at..at + 4].try_into().unwrap());
                continue;
            }
            0x54 => {
                accumulator &= step.k;
                continue;
            }
            0x05 => {
                place += step.k as usize;
                continue;
            }
            0x06 => return step.k,
            0x15 => accumulator == step.k,
            0x25 => accumulator > step.k,
            0x35 => accumulator >= step.k,
            code => panic!("operation {code:#x} is unknown to this test"),
        };
        place += usize::from(if is_true { step.jt } else { step.jf });
    }
}

/// Returns what all filters together decide: the strictest result.
fn decide(filters: &Filters, number: c_long, arguments: [u64; 6]) -> Result<(), i32> {
    let number = u32::try_from(number).unwrap();
    let results = filters
        .0
        .iter()
        .map(|program| run(program, ARCHITECTURE, number, arguments));
    match results.min().unwrap() {
        ALLOW => Ok(()),
        result => {
            assert_eq!(result & 0xffff_0000, ERRNO, "call {number}");
            Err((result & 0xffff).cast_signed())
        }
    }
}

/// The arguments of a call that only fails for some, so that it does not.
fn harmless_arguments(call: c_long) -> [u64; 6] {
    match call {
        libc::SYS_socket | libc::SYS_socketpair => [1, 1, 0, 0, 0, 0],
        libc::SYS_ioprio_set => [1, 0, 0, 0, 0, 0],
        _ => [0; 6],
    }
}

fn allowed_numbers() -> BTreeSet<c_long> {
    GROUPS.iter().copied().flatten().copied().collect()
}

#[test]
fn every_number_is_allowed_refused_or_unknown() {
    let filters = Filters::build().unwrap();
    let allowed = allowed_numbers();
    let second_numbers = (1 << 30)..(1 << 30) + 600;
    for number in (0..1024).chain(second_numbers).chain([i64::from(u32::MAX)]) {
        let expected = match number {
            _ if allowed.contains(&number) => Ok(()),
            libc::SYS_clone3 => Err(libc::ENOSYS),
            0..=469 => Err(libc::EPERM),
            _ => Err(libc::ENOSYS),
        };
        let decided = decide(&filters, number, harmless_arguments(number));
        assert_eq!(decided, expected, "call {number}");
    }
}

#[test]
fn no_call_is_listed_twice() {
    let count: usize = GROUPS.iter().map(|group| group.len()).sum();
    assert_eq!(allowed_numbers().len(), count);
}

/// What must not become allowed by a mistake in the lists.
#[test]
fn calls_that_have_led_to_escapes_are_refused_at_every_level() {
    let refused = [
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
        libc::SYS_swapon,
        libc::SYS_swapoff,
        libc::SYS_setns,
        libc::SYS_sethostname,
        libc::SYS_setdomainname,
        libc::SYS_process_madvise,
        libc::SYS_pidfd_getfd,
        libc::SYS_kcmp,
        libc::SYS_move_pages,
        libc::SYS_migrate_pages,
        libc::SYS_open_by_handle_at,
        libc::SYS_name_to_handle_at,
        libc::SYS_keyctl,
        libc::SYS_add_key,
        libc::SYS_request_key,
        libc::SYS_bpf,
        libc::SYS_perf_event_open,
        libc::SYS_io_setup,
        libc::SYS_io_submit,
        libc::SYS_io_uring_setup,
        libc::SYS_io_uring_enter,
        libc::SYS_io_uring_register,
        libc::SYS_userfaultfd,
        libc::SYS_fanotify_init,
        libc::SYS_fanotify_mark,
        libc::SYS_vhangup,
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
        libc::SYS_mbind,
        libc::SYS_set_mempolicy,
        // quotactl_fd, set_mempolicy_home_node, lsm_set_self_attr, open_tree_attr
        443,
        450,
        460,
        467,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_iopl,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_ioperm,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_modify_ldt,
        #[cfg(target_arch = "x86_64")]
        libc::SYS_uselib,
    ];
    for filters in levels() {
        for call in refused {
            let decided = decide(&filters, call, [0; 6]);
            assert_eq!(decided, Err(libc::EPERM), "call {call}");
        }
        assert_eq!(
            decide(&filters, libc::SYS_clone3, [0; 6]),
            Err(libc::ENOSYS)
        );
    }
}

#[test]
fn another_level_allows_nothing_that_namespaces_do_not() {
    let [namespaces, own_ids, callers_id] = levels();
    for number in 0..600 {
        let arguments = harmless_arguments(number);
        let decided = [&namespaces, &own_ids, &callers_id]
            .map(|filters| decide(filters, number, arguments).is_ok());
        let is_stricter = decided.windows(2).all(|pair| pair[0] || !pair[1]);
        assert!(is_stricter, "call {number}: {decided:?}");
    }
}

#[test]
fn arguments_decide_where_a_call_has_two_sides() {
    let call = |call: c_long, arguments: &[u64]| {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        levels().map(|filters| decide(&filters, call, all).is_ok())
    };
    let (all, none) = ([true; 3], [false; 3]);
    let sigchld = libc::SIGCHLD as u64;
    for (number, arguments, expected) in [
        (libc::SYS_clone, &[sigchld][..], all),
        (
            libc::SYS_clone,
            &[sigchld | libc::CLONE_NEWUSER as u64],
            none,
        ),
        (libc::SYS_unshare, &[libc::CLONE_FILES as u64], all),
        (libc::SYS_unshare, &[libc::CLONE_NEWNS as u64], none),
        (libc::SYS_unshare, &[0x80], none),
        (libc::SYS_unshare, &[0x1], none),
        (libc::SYS_ioctl, &[0, libc::TCGETS], all),
        (libc::SYS_ioctl, &[0, libc::TIOCSTI], none),
        (libc::SYS_ioctl, &[0, libc::TIOCSTI | 1 << 40], none),
        (libc::SYS_prlimit64, &[0, 7, 1], all),
        (libc::SYS_prlimit64, &[1, 7, 0, 1], all),
        (libc::SYS_prlimit64, &[1, 7, 1], none),
        (libc::SYS_sched_setaffinity, &[0], all),
        (libc::SYS_sched_setaffinity, &[1], none),
        (libc::SYS_setpriority, &[0, 0, 5], all),
        (libc::SYS_setpriority, &[2, 0, 5], none),
        // The present one, that of 32-bit programs, without randomisation, executable mappings.
        (libc::SYS_personality, &[0xffff_ffff], all),
        (libc::SYS_personality, &[0x8], all),
        (libc::SYS_personality, &[0x004_0000], all),
        (libc::SYS_personality, &[0x040_0000], none),
        (libc::SYS_personality, &[0x44_0000], none),
        (libc::SYS_socket, &[1, 1, 0], [true, false, false]),
        (libc::SYS_socket, &[2, 1, 6], [true, false, false]),
        (libc::SYS_socket, &[2, 1, 132], none),
        (libc::SYS_socket, &[16, 3, 0], [true, false, false]),
        (libc::SYS_socket, &[16, 3, 15], none),
        (libc::SYS_socket, &[38, 5, 0], none),
        (libc::SYS_socketpair, &[1, 1, 0], all),
        (libc::SYS_socketpair, &[1, 2, 0], [true, false, false]),
        (libc::SYS_utimensat, &[0, 0], all),
        (libc::SYS_utimensat, &[0, 1], [true, true, false]),
        (libc::SYS_ptrace, &[0], [true, false, false]),
        (libc::SYS_fchmodat, &[0], [true, true, false]),
    ] {
        assert_eq!(call(number, arguments), expected, "{number} {arguments:x?}");
    }
}

#[test]
fn calls_of_another_architecture_end_the_process() {
    for filters in levels() {
        for architecture in [0, 0x4000_0003, 0x4000_0028] {
            let results = filters.0.iter();
            let result = results.map(|program| run(program, architecture, 1, [0; 6]));
            // The kernel compares results as signed numbers.
            assert_eq!(
                result.map(u32::cast_signed).min(),
                Some(KILL_PROCESS.cast_signed())
            );
        }
    }
}

#[test]
fn attributes_by_path_are_unsupported_with_the_callers_id() {
    let [_, own_ids, callers_id] = levels();
    let call = libc::SYS_lgetxattr;
    assert_eq!(decide(&own_ids, call, [0; 6]), Ok(()));
    assert_eq!(decide(&callers_id, call, [0; 6]), Err(libc::EOPNOTSUPP));
}

#[test]
fn the_filters_are_within_the_kernels_size_limit() {
    for filters in levels() {
        let sizes: Vec<usize> = filters.0.iter().map(BpfProgram::len).collect();
        assert!(
            sizes.iter().all(|size| (1..4096).contains(size)),
            "{sizes:?}"
        );
    }
}

fn levels() -> [Filters; 3] {
    [
        Filters::build(),
        Filters::build_for_landlock(true),
        Filters::build_for_landlock(false),
    ]
    .map(|filters| filters.unwrap_or_else(|failure| panic!("{failure}")))
}
