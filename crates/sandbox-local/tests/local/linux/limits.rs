//! Limits of memory, processes and disk.

use libtest_mimic::Trial;
use sandbox_core::{ByteSize, SandboxBackend, SandboxSpec};
use sandbox_local::IsolationLevel;

use super::support::{Result, Shell, World, trial, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![namespaces_limit_the_disk,];
    trials.extend([
        trial("namespaces_stop_a_fork_bomb", || {
            check_fork_bomb(IsolationLevel::Namespaces)
        }),
        trial("landlock_stops_a_fork_bomb", || {
            check_fork_bomb(IsolationLevel::Landlock)
        }),
        trial("namespaces_limit_memory", || {
            check_memory_limit(IsolationLevel::Namespaces)
        }),
        trial("landlock_limits_memory", || {
            check_memory_limit(IsolationLevel::Landlock)
        }),
        trial("namespaces_name_a_memory_limit_below_the_server", || {
            check_too_little_memory(IsolationLevel::Namespaces)
        }),
        trial("landlock_names_a_memory_limit_below_the_server", || {
            check_too_little_memory(IsolationLevel::Landlock)
        }),
    ]);
    trials
}

async fn check_fork_bomb(level: IsolationLevel) -> Result {
    let world = World::with_options(|options| {
        options.default_limits.pids = Some(60);
        options.isolation = level;
    })?;
    let info = world.create().await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "pids" && limit.value == "60"),
        "{:?}",
        info.limits
    );
    // Without a control group, the limit is that of the user: 60 more than the processes that other
    // tests had at the creation. If they have more of them now, the shell cannot start either.
    let mut output = world
        .probe(&info, "processes 400")
        .await
        .unwrap_or_else(|error| error.to_string());
    assert!(
        output.starts_with("refused") || output.contains("Try again"),
        "{output}"
    );
    for _ in 0..100 {
        // Then the shell cannot start the probe either.
        output = world
            .probe(&info, "processes 10")
            .await
            .unwrap_or_else(|error| error.to_string());
        if output.starts_with("done") {
            break;
        }
    }
    assert!(output.starts_with("done"), "{output}");
    // A real fork bomb is still running when the sandbox is deleted.
    let shell = Shell::open(&world.backend.access(&info.id).await?).await?;
    let program = std::env::current_exe()?;
    let bomb = tokio::spawn(async move {
        shell
            .run(&format!("{} probe bomb", program.display()))
            .await
    });
    let can_start_process = || async {
        world
            .run(&info, "true")
            .await
            .is_ok_and(|ran| ran.code == Some(0))
    };
    let deadline = sandbox_core::Deadline::from_now(std::time::Duration::from_secs(60));
    while can_start_process().await && !deadline.has_passed() {}
    assert!(!deadline.has_passed(), "the fork bomb has no effect");
    world.backend.delete(&info.id, Default::default()).await?;
    bomb.abort();
    world.assert_nothing_left(&info).await
}

async fn check_too_little_memory(level: IsolationLevel) -> Result {
    let world = World::with_options(|options| options.isolation = level)?;
    if !world.backend.capabilities().limits.memory {
        return Ok(());
    }
    let mut spec = SandboxSpec::default();
    spec.resources.memory = Some(ByteSize::from_bytes(4096));
    let created = world.backend.create(spec).await;
    let error = created.err().ok_or("the sandbox was created")?.to_string();
    assert!(error.contains("memory limit is too low"), "{error}");
    Ok(())
}

async fn check_memory_limit(level: IsolationLevel) -> Result {
    let world = World::with_options(|options| {
        options.default_limits.memory = Some(ByteSize::from_mib(96));
        options.isolation = level;
    })?;
    let info = world.create().await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "memory" && limit.value == "96Mi"),
        "{:?}",
        info.limits
    );
    let program = std::env::current_exe()?.display().to_string();
    let ran = world
        .run(&info, &format!("{program} probe memory 400"))
        .await?;
    assert!(!ran.stdout.starts_with("done"), "{ran:?}");
    let output = world.probe(&info, "memory 8").await?;
    assert_eq!(output, "done 8 MiB", "the sandbox is still usable");
    let is_cgroup_limit = info
        .limits
        .iter()
        .any(|limit| limit.resource == "memory" && limit.enforced_by.starts_with("cgroup"));
    if is_cgroup_limit {
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.summary.contains("memory ran out"),
            "{diagnosis:?}"
        );
    }
    Ok(())
}

async fn namespaces_limit_the_disk() -> Result {
    let world = World::new()?;
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let info = world.backend.create(spec).await?;
    assert!(
        info.limits
            .iter()
            .any(|limit| limit.resource == "disk" && limit.enforced_by == "tmpfs"),
        "{:?}",
        info.limits
    );
    let ran = world
        .run(
            &info,
            "head -c 3000000 /dev/zero > a && head -c 3000000 /dev/zero > /tmp/b",
        )
        .await?;
    assert!(
        ran.code == Some(1) && ran.stderr.contains("No space left"),
        "{ran:?}"
    );
    let ran = world
        .run(
            &info,
            "rm a /tmp/b && ls -la / && mkdir d && echo x > d/x && cat d/x && stat -c %a /tmp . && ls /disk",
        )
        .await?;
    assert!(ran.stdout.ends_with("x\n1777\n755\n"), "{ran:?}");
    Ok(())
}
