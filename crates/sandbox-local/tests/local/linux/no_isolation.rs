//! The isolation level none.

use libtest_mimic::Trial;
use rustix::process::{Signal, kill_process};
use sandbox_core::{ByteSize, SandboxBackend, SandboxSpec};
use sandbox_local::IsolationLevel;

use super::support::{Result, World, trials, wait_until};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        the_level_none_isolates_nothing,
        the_level_none_leaves_no_process_when_its_supervisor_is_killed,
    ]
}

async fn the_level_none_leaves_no_process_when_its_supervisor_is_killed() -> Result {
    let world = World::with_options(|options| options.isolation = IsolationLevel::None)?;
    let info = world.create().await?;
    let ran = world
        .run(&info, "setsid sleep 600 >/dev/null 2>&1 & echo $!")
        .await?;
    let process = std::path::PathBuf::from(format!("/proc/{}", ran.stdout.trim()));
    assert!(process.exists(), "{}", ran.stderr);
    kill_process(world.supervisor_pid(&info)?, Signal::KILL)?;
    wait_until("the process has ended", || !process.exists()).await?;
    world.backend.sweep(Default::default()).await?;
    world.assert_nothing_left(&info).await
}

async fn the_level_none_isolates_nothing() -> Result {
    let world = World::with_options(|options| options.isolation = IsolationLevel::None)?;
    let info = world.create().await?;
    assert_eq!(
        (info.isolation.kind.as_str(), info.isolation.applied.len()),
        ("none", 1),
        "{:?}",
        info.isolation
    );
    let ran = world
        .run(
            &info,
            "grep NoNewPrivs /proc/self/status | cut -f2; id -u; pwd; (setsid sleep 600 &) ; echo $HOME",
        )
        .await?;
    let home = info.home.clone().unwrap_or_default();
    assert_eq!(
        ran.stdout,
        format!(
            "1\n{}\n{home}\n{home}\n",
            rustix::process::geteuid().as_raw()
        ),
        "{}",
        ran.stderr
    );
    assert!(home.starts_with(&*world.path().to_string_lossy()));
    let mut spec = SandboxSpec::default();
    spec.resources.disk = Some(ByteSize::from_mib(4));
    let error = world.create_error(spec).await?;
    assert!(
        matches!(error, sandbox_core::Error::Unsupported { .. })
            && error.to_string().contains("disk"),
        "{error}"
    );
    world.backend.delete(&info.id, Default::default()).await?;
    world.assert_nothing_left(&info).await
}
