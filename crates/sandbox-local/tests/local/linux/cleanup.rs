//! Sandboxes leave nothing, however they end.

use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Signal, kill_process};
use sandbox_core::{DeleteOptions, ListFilter, SandboxBackend, SweepOptions};
use sandbox_local::IsolationLevel;
use tokio::time::timeout;

use super::client_process::start_client_process;
use super::support::{Result, Shell, TIMEOUT, World, detached_spec, trial, trials};

pub(crate) fn trials() -> Vec<Trial> {
    let mut trials = trials![
        a_killed_supervisor_leaves_nothing_after_a_sweep,
        a_list_removes_ended_sandboxes,
        a_client_killed_while_creating_leaves_nothing,
        a_hostile_home_is_removed,
    ];
    trials.extend([
        trial("a_dropped_create_leaves_nothing", || {
            check_dropped_create(IsolationLevel::Namespaces)
        }),
        trial("a_dropped_create_with_landlock_leaves_nothing", || {
            check_dropped_create(IsolationLevel::Landlock)
        }),
    ]);
    trials
}

async fn a_killed_supervisor_leaves_nothing_after_a_sweep() -> Result {
    let world = World::new()?;
    let ended = world.backend.create(detached_spec()).await?;
    let alive = world.backend.create(detached_spec()).await?;
    let access = world.backend.access(&ended.id).await?;
    let shell = Shell::open(&access).await?;
    let running = tokio::spawn(async move { shell.run("sleep 600 & sleep 600").await });
    kill_process(world.supervisor_pid(&ended)?, Signal::KILL)?;
    let mut dry = Vec::new();
    for _ in 0..2000 {
        dry = world.backend.sweep(SweepOptions::dry_run()).await?.removed;
        if !dry.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(
        dry.iter().map(|swept| &swept.id).collect::<Vec<_>>(),
        [&ended.id]
    );
    assert!(world.state(&ended).exists(), "a dry run removes nothing");
    // The processes have ended before the sweep: the connection is lost.
    timeout(TIMEOUT, running).await??.ok();
    let swept = world.backend.sweep(SweepOptions::default()).await?.removed;
    assert_eq!(swept, dry);
    world.assert_nothing_left(&ended).await?;
    assert_eq!(world.run(&alive, "echo alive").await?.stdout, "alive\n");
    assert!(
        world
            .backend
            .sweep(SweepOptions::default())
            .await?
            .removed
            .is_empty()
    );
    Ok(())
}

async fn a_list_removes_ended_sandboxes() -> Result {
    let world = World::new()?;
    let info = world.backend.create(detached_spec()).await?;
    kill_process(world.supervisor_pid(&info)?, Signal::KILL)?;
    let deadline = sandbox_core::Deadline::from_now(TIMEOUT);
    while world.state(&info).exists() && !deadline.has_passed() {
        assert!(world.backend.list(ListFilter::default()).await?.len() <= 1);
    }
    world.assert_nothing_left(&info).await?;
    // A delete removes it as well.
    let info = world.backend.create(detached_spec()).await?;
    kill_process(world.supervisor_pid(&info)?, Signal::KILL)?;
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.assert_nothing_left(&info).await
}

async fn a_client_killed_while_creating_leaves_nothing() -> Result {
    let world = World::new()?;
    for step in 0..24_u64 {
        let mut client = start_client_process(world.backend.state_dir())?;
        std::thread::sleep(Duration::from_micros(step * 1500));
        client.kill()?;
        client.wait()?;
        // The creation is either completed or cancelled in the background.
        let ids = || world.state_entries().len();
        let listed = world.backend.list(ListFilter::default()).await?.len();
        if ids() > listed {
            let deadline = sandbox_core::Deadline::from_now(TIMEOUT);
            while ids() > world.backend.list(ListFilter::default()).await?.len()
                && !deadline.has_passed()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        assert_only_complete_sandboxes_left(&world).await?;
    }
    Ok(())
}

async fn check_dropped_create(level: IsolationLevel) -> Result {
    let world = World::with_options(|options| options.isolation = level)?;
    for step in 0..24_u64 {
        let creation = world.backend.create(detached_spec());
        match timeout(Duration::from_micros(step * 1500), creation).await {
            Ok(created) => {
                let options = DeleteOptions::default();
                world.backend.delete(&created?.id, options).await?;
            }
            Err(_elapsed) => world.backend.settle().await,
        }
        assert!(world.state_entries().is_empty(), "after {step} steps");
    }
    Ok(())
}

async fn a_hostile_home_is_removed() -> Result {
    let world = World::new()?;
    let info = world.create().await?;
    let script = "mkdir -p a/b/c && touch a/b/c/f && ln -s /etc a/l && mkfifo a/p && chmod 000 a/b/c a/b a && mkdir d && cd d && \
                  i=0; while [ $i -lt 1500 ]; do mkdir d && cd d || break; i=$((i+1)); done; cd; chmod 000 d; chmod 000 .; echo $i";
    assert_eq!(world.run(&info, script).await?.stdout, "1500\n");
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.assert_nothing_left(&info).await
}

/// Deletes the sandboxes whose creation was acknowledged. Nothing else may be left.
async fn assert_only_complete_sandboxes_left(world: &World) -> Result {
    for info in world.backend.list(ListFilter::default()).await? {
        world
            .backend
            .delete(&info.id, DeleteOptions::default())
            .await?;
        world.assert_nothing_left(&info).await?;
    }
    world.wait_until_empty().await
}
