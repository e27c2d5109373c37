//! System calls that the filters must refuse.

use libtest_mimic::Trial;
use sandbox_core::SandboxInfo;

use super::support::{Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        namespaces_refuse_dangerous_system_calls,
        landlock_refuses_dangerous_system_calls,
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
    world.assert_refused(&info, "call raw-socket").await
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
    world.assert_refused(&info, "call future-call").await
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
