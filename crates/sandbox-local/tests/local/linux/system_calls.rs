//! System calls that the filters must refuse.

use libtest_mimic::Trial;
use nix::libc;
use sandbox_core::SandboxInfo;
use sandbox_local::IsolationLevel;

use super::support::{Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        namespaces_refuse_dangerous_system_calls,
        landlock_refuses_dangerous_system_calls,
        programs_of_32_bits_are_refused_in_words,
    ]
}

async fn namespaces_refuse_dangerous_system_calls() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let more_calls = ["sctp-socket", "mptcp-socket", "seqpacket-socket"];
    for call in DANGEROUS_CALLS.iter().chain(&more_calls) {
        assert_refused_by_filter(&world, &info, call).await?;
    }
    world.assert_refused(&info, "call future-call").await?;
    world.assert_refused(&info, "call raw-socket").await?;
    assert_unlisted_calls_are_refused(&world, &info).await
}

async fn landlock_refuses_dangerous_system_calls() -> Result {
    let (world, info) = World::with_landlock().await?;
    let more_calls = [
        "ptrace",
        "process_vm_readv",
        "trace-child",
        "socket-unix",
        "socket-inet",
        "socket-inet6",
        "raw-socket",
        "route-socket",
        "datagram-pair",
        "datagram-pair-flags",
        "raw-pair",
        "connect",
        "bind",
        "shmget",
        "shmat",
        "semget",
        "msgget",
        "mq_open",
        "inotify_add_watch",
    ];
    for call in DANGEROUS_CALLS.iter().chain(&more_calls) {
        assert_refused_by_filter(&world, &info, call).await?;
    }
    world.assert_refused(&info, "call future-call").await?;
    assert_unlisted_calls_are_refused(&world, &info).await
}

async fn programs_of_32_bits_are_refused_in_words() -> Result {
    // A program for i386 that exits with 42.
    let mut program = Vec::new();
    program.extend(b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0");
    // An executable (2) for i386 (3), its entry point, and the place, size and number of its segments.
    for half in [
        2_u16, 3, 1, 0, 0x8054, 0x0804, 52, 0, 0, 0, 0, 0, 52, 32, 1, 0, 0, 0,
    ] {
        program.extend(half.to_le_bytes());
    }
    // One segment to load: readable and executable.
    for word in [1_u32, 0, 0x0804_8000, 0x0804_8000, 96, 96, 5, 4096] {
        program.extend(word.to_le_bytes());
    }
    // mov eax, 1; mov ebx, 42; int 0x80
    program.extend(b"\xb8\x01\0\0\0\xbb\x2a\0\0\0\xcd\x80");
    let octal: String = program.iter().map(|byte| format!("\\{byte:03o}")).collect();
    for (isolation, expected) in [
        (
            IsolationLevel::Namespaces,
            "is a 32-bit program, and this sandbox runs 64-bit programs only",
        ),
        (IsolationLevel::Landlock, "is a 32-bit program"),
    ] {
        let world = World::with_options(|options| options.isolation = isolation)?;
        let info = world.create().await?;
        // An ordinary user's sandbox with Landlock cannot change modes, but a copy keeps them.
        world
            .run(
                &info,
                &format!("cp /bin/true narrow && printf '{octal}' > narrow"),
            )
            .await?;
        let ran = world.run(&info, "exec './narrow'").await?;
        assert_eq!(ran.code, Some(126), "{ran:?}");
        assert!(ran.stderr.contains(expected), "{ran:?}");
        // The filter ends it if a shell starts it, or the kernel does not run it.
        let ran = world.run(&info, "./narrow; echo $?").await?;
        assert!(["159\n", "126\n"].contains(&&*ran.stdout), "{ran:?}");
    }
    Ok(())
}

/// Fails if the kernel gets to see a call that is not on the list of allowed ones.
async fn assert_unlisted_calls_are_refused(world: &World, info: &SandboxInfo) -> Result {
    let numbers: Vec<String> = UNLISTED_CALLS.iter().map(ToString::to_string).collect();
    let command = format!("reach-kernel {}", numbers.join(" "));
    assert_eq!(world.probe(info, &command).await?.trim(), "done");
    Ok(())
}

/// Fails unless the filter refuses a call, and not the kernel because of its version or the arguments.
async fn assert_refused_by_filter(world: &World, info: &SandboxInfo, call: &str) -> Result {
    let output = world.probe(info, &format!("call {call}")).await?;
    let expected = match call {
        "clone3" | "x32-getpid" | "x32-ptrace" => "os error 38",
        _ => "os error 1)",
    };
    assert!(output.contains(expected), "{call}: {output}");
    Ok(())
}

const DANGEROUS_CALLS: &[&str] = &[
    "mount",
    "remount",
    "umount",
    "open_tree",
    "unshare-user",
    "unshare-net",
    "clone-user",
    "clone3",
    "setns",
    "pidfd_getfd",
    "limit-server",
    "schedule-server",
    "pin-server",
    "renice-server",
    "renice-user",
    "io-priority-server",
    "io_setup",
    "line-discipline",
    "keyctl",
    "add_key",
    "bpf",
    "perf_event_open",
    "io_uring_setup",
    "userfaultfd",
    "name_to_handle_at",
    "open_by_handle_at",
    "reboot",
    "settimeofday",
    "finit_module",
    "kexec_load",
    "syslog",
    "chroot",
    "packet-socket",
    "vsock-socket",
    "alg-socket",
    "uevent-socket",
    "type-into-terminal",
    "type-into-terminal-64",
    #[cfg(target_arch = "x86_64")]
    "x32-getpid",
    #[cfg(target_arch = "x86_64")]
    "x32-ptrace",
];

/// Calls that `probe` makes with invalid arguments, so that each would fail with another error.
const UNLISTED_CALLS: &[libc::c_long] = &[
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_quotactl,
    libc::SYS_swapon,
    libc::SYS_acct,
    libc::SYS_mbind,
    libc::SYS_get_mempolicy,
    libc::SYS_set_mempolicy,
    libc::SYS_io_submit,
    libc::SYS_io_getevents,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fanotify_init,
    libc::SYS_fanotify_mark,
    libc::SYS_request_key,
    libc::SYS_kcmp,
    libc::SYS_process_madvise,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_clock_settime,
    libc::SYS_delete_module,
    // quotactl_fd, set_mempolicy_home_node, lsm_list_modules, open_tree_attr
    443,
    450,
    461,
    467,
];
