//! What programs find in a sandbox with namespaces: limits of their own, and the files that describe them.

use std::process::Command;

use libtest_mimic::Trial;
use sandbox_core::{ByteSize, SandboxBackend, SandboxSpec};

use crate::linux::support::{Result, World, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        resources_of_the_user_are_limited_for_each_sandbox,
        terminals_are_limited_for_each_sandbox,
        programs_find_the_processors_and_their_memory_limit,
        the_machine_behind_is_not_described,
        debuggers_can_trace_their_own_children,
        commands_do_not_ignore_signals_that_the_client_ignores,
    ]
}

async fn resources_of_the_user_are_limited_for_each_sandbox() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let ran = world
        .run(
            &info,
            "cd /proc/sys/user; cat max_inotify_instances max_user_namespaces max_mnt_namespaces; \
             echo 99 > max_inotify_instances",
        )
        .await?;
    assert_eq!(ran.stdout, "32\n0\n0\n", "{}", ran.stderr);
    assert_ne!(ran.code, Some(0), "the limit can be raised");
    Ok(())
}

async fn terminals_are_limited_for_each_sandbox() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let ran = world.run(&info, "grep devpts /proc/self/mountinfo").await?;
    assert!(ran.stdout.contains("max=256"), "{}", ran.stdout);
    Ok(())
}

async fn programs_find_the_processors_and_their_memory_limit() -> Result {
    let world = World::new()?;
    let mut spec = SandboxSpec::default();
    spec.resources.memory = Some(ByteSize::from_mib(256));
    let supports_memory_limit = world.backend.capabilities().limits.memory;
    if !supports_memory_limit {
        spec.resources.memory = None;
    }
    let info = world.backend.create(spec).await?;
    let ran = world
        .run(
            &info,
            "cat /sys/devices/system/cpu/online; ls /sys; echo 1 > /sys/fs/cgroup/cgroup.procs",
        )
        .await?;
    let online = std::fs::read_to_string("/sys/devices/system/cpu/online")?;
    assert!(ran.stdout.starts_with(&online), "{}", ran.stdout);
    assert!(
        ran.stdout.ends_with("devices\nfs\n"),
        "more of /sys is visible: {}",
        ran.stdout
    );
    if supports_memory_limit {
        let ran = world
            .run(
                &info,
                "cd /sys/fs/cgroup; cat memory/memory.limit_in_bytes memory.max 2>/dev/null; \
                 touch memory/x x",
            )
            .await?;
        assert_eq!(ran.stdout, format!("{}\n", 256 << 20), "{}", ran.stderr);
        assert_ne!(ran.code, Some(0), "the groups can be changed");
    } else {
        eprintln!("NOT RUN: no memory limit can be applied here");
    }
    Ok(())
}

async fn the_machine_behind_is_not_described() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let hidden =
        "cmdline config.gz diskstats interrupts iomem ioports locks partitions kallsyms pressure/*";
    let ran = world
        .run(
            &info,
            &format!("cd /proc; cat {hidden} 2>/dev/null | wc -c"),
        )
        .await?;
    assert_eq!(ran.stdout.trim(), "0", "{ran:?}");
    // What programs read of the machine remains.
    let ran = world
        .run(
            &info,
            "cd /proc; cat cpuinfo meminfo stat loadavg uptime version vmstat sys/kernel/osrelease > /dev/null",
        )
        .await?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    Ok(())
}

async fn debuggers_can_trace_their_own_children() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let output = world.probe(&info, "call trace-child").await?;
    assert!(output.starts_with("done"), "{output}");
    Ok(())
}

async fn commands_do_not_ignore_signals_that_the_client_ignores() -> Result {
    let world = World::new()?;
    let client = Command::new("sh")
        .args(["-c", "trap '' HUP INT QUIT TERM; exec \"$0\" client \"$1\""])
        .arg(std::env::current_exe()?)
        .arg(world.backend.state_dir())
        .output()?;
    assert!(client.status.success(), "{client:?}");
    let id = String::from_utf8(client.stdout)?.trim().parse()?;
    let info = world
        .backend
        .get(&id, sandbox_core::Freshness::Latest)
        .await?;
    let ran = world
        .run(
            &info,
            "sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status",
        )
        .await?;
    let ignored = u64::from_str_radix(ran.stdout.trim(), 16)?;
    // Signals 1, 2, 3 and 15.
    assert_eq!(ignored & 0x4007, 0, "{ignored:x}");
    Ok(())
}
