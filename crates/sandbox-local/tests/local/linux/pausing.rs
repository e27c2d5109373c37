//! Pauses of sandboxes in which very much happens, and the ends of paused ones.

use std::collections::BTreeSet;
use std::time::Duration;

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use sandbox_core::{DeleteOptions, LimitScope, SandboxBackend, SandboxInfo, SweepOptions};
use sandbox_local::IsolationLevel;

use super::support::{
    Result, World, detached_spec, find_processes, frozen_group, has_freezer, trial, wait_until,
};

/// How many relays there are: processes that each start a `sleep`, then their successor, and end.
const RELAYS: usize = 150;

/// All relays that are resumed pass on at the same instant: each is then four processes, two of which are about to end.
/// Twice that, because what has ended counts until it is waited for.
const MAX_PROCESSES: usize = 8 * RELAYS;

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("hundreds_that_start_others_are_paused", || {
            check_many(IsolationLevel::Namespaces)
        }),
        trial("hundreds_with_landlock_are_paused", || {
            check_many(IsolationLevel::Landlock)
        }),
        trial("a_killed_supervisor_leaves_nothing_paused", || {
            check_killed(IsolationLevel::Namespaces, Victim::Supervisor)
        }),
        trial(
            "a_killed_supervisor_with_landlock_leaves_nothing_paused",
            || check_killed(IsolationLevel::Landlock, Victim::Supervisor),
        ),
        trial("a_killed_server_leaves_nothing_paused", || {
            check_killed(IsolationLevel::Namespaces, Victim::Server)
        }),
        trial("a_killed_keeper_leaves_nothing_paused", || {
            check_killed(IsolationLevel::Landlock, Victim::Server)
        }),
    ]
}

async fn check_many(level: IsolationLevel) -> Result {
    let world = busy_world(level)?;
    if !can_pause(level) {
        let info = world.create().await?;
        let refused = world.pause(&info).await.err().ok_or("it was paused")?;
        assert!(refused.to_string().contains("no /proc"), "{refused}");
        return Ok(());
    }
    let info = start_relays(&world, RELAYS).await?;
    let running = || find_processes(info.uid.as_str());
    for _ in 0..3 {
        let paused = world.pause(&info).await?;
        assert!(paused.is_paused && paused.is_changed, "{paused:?}");
        assert_eq!(frozen_group(info.uid.as_str()).is_some(), has_freezer());
        let before = running();
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert_eq!(running(), before, "something runs");
        assert!(before.len() >= RELAYS / 2, "{} are left", before.len());
        let resumed = world.resume(&info).await?;
        assert!(!resumed.is_paused && resumed.is_changed, "{resumed:?}");
        assert_eq!(frozen_group(info.uid.as_str()), None);
        wait_until("it continues", || !running().is_subset(&before)).await?;
        let ran = world.run(&info, "cat errors").await?;
        assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""), "{ran:?}");
    }
    // What is paused can be deleted.
    world.pause(&info).await?;
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    assert_eq!(running(), BTreeSet::new());
    world.assert_nothing_left(&info).await
}

enum Victim {
    Supervisor,
    /// The server, or its keeper.
    Server,
}

async fn check_killed(level: IsolationLevel, victim: Victim) -> Result {
    if !can_pause(level) {
        return Ok(());
    }
    let world = busy_world(level)?;
    let info = start_relays(&world, 4).await?;
    world.pause(&info).await?;
    let pid = match victim {
        Victim::Supervisor => world.supervisor_pid(&info)?,
        Victim::Server => {
            let record = std::fs::read(world.state(&info).join("record.json"))?;
            let record: serde_json::Value = serde_json::from_slice(&record)?;
            let pid = record["server"]["pid"].as_i64().ok_or("no pid")?;
            Pid::from_raw(i32::try_from(pid)?).ok_or("no pid")?
        }
    };
    kill_process(pid, Signal::KILL)?;
    // Nothing but the kernel has to end what is paused.
    wait_until("its processes have ended", || {
        find_processes(info.uid.as_str()).is_empty()
    })
    .await?;
    wait_until("its supervisor has ended", || {
        !world.state(&info).exists() || world.supervisor_has_ended(&info)
    })
    .await?;
    world.backend.sweep(SweepOptions::default()).await?;
    world.assert_nothing_left(&info).await
}

/// Whether a sandbox of this level can be paused here: with Landlock there is no `/proc` to find processes in.
fn can_pause(level: IsolationLevel) -> bool {
    level == IsolationLevel::Namespaces || has_freezer()
}

fn busy_world(level: IsolationLevel) -> Result<World> {
    World::with_options(|options| {
        options.isolation = level;
        options.default_limits.pids = u32::try_from(MAX_PROCESSES).ok();
    })
}

/// Creates a sandbox in which there are always so many processes, whose arguments contain its uid.
async fn start_relays(world: &World, count: usize) -> Result<SandboxInfo> {
    let info = world.backend.create(detached_spec()).await?;
    let is_limited = info.limits.iter().any(|limit| {
        limit.resource == "pids"
            && limit.value == MAX_PROCESSES.to_string()
            && limit.scope == LimitScope::Sandbox
    });
    assert!(is_limited, "{:?}", info.limits);
    let script = format!(
        "printf '%s\\n' 'sleep 1; sh relay $1 & exit' > relay; i=0; \
         while [ $i -lt {count} ]; do i=$((i+1)); (setsid sh relay {} &) > /dev/null 2>> errors; done",
        info.uid
    );
    let ran = world.run(&info, &script).await?;
    assert_eq!(ran.code, Some(0), "{ran:?}");
    // There may be more for an instant, and fewer while one is about to become its successor.
    wait_until("they run", || {
        find_processes(info.uid.as_str()).len() >= count / 2
    })
    .await?;
    Ok(info)
}
