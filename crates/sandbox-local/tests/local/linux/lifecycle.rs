//! What becomes of sandboxes: found again, ended, deleted, and never left behind.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use sandbox_core::{
    DeleteOptions, Error, Freshness, Lifetime, ListFilter, SandboxBackend, SandboxEventKind,
    SandboxId, SandboxInfo, SandboxSpec, SweepOptions, Uid,
};
use sandbox_local::{IsolationLevel, LocalBackend, LocalOptions};
use tokio::time::timeout;

use super::support::{Result, World, eventually, trial, users_of};

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial("a_sandbox_outlives_its_maker", a_sandbox_outlives_its_maker),
        trial("a_sandbox_ends_with_its_time", a_sandbox_ends_with_its_time),
        trial(
            "the_end_can_be_put_off_up_to_the_hard_one",
            the_end_can_be_put_off_up_to_the_hard_one,
        ),
        trial("a_sandbox_left_alone_ends", a_sandbox_left_alone_ends),
        trial(
            "a_sandbox_whose_server_dies_is_taken_away",
            a_sandbox_whose_server_dies_is_taken_away,
        ),
        trial(
            "a_killed_supervisor_leaves_nothing_after_a_sweep",
            a_killed_supervisor_leaves_nothing_after_a_sweep,
        ),
        trial("a_list_removes_what_is_dead", a_list_removes_what_is_dead),
        trial(
            "a_client_killed_while_creating_leaves_nothing",
            a_client_killed_while_creating_leaves_nothing,
        ),
        trial(
            "a_dropped_create_leaves_nothing",
            a_dropped_create_leaves_nothing,
        ),
        trial("an_id_is_used_once_at_a_time", an_id_is_used_once_at_a_time),
        trial("a_long_path_is_no_obstacle", a_long_path_is_no_obstacle),
        trial("a_hostile_home_is_removed", a_hostile_home_is_removed),
    ]
}

/// A program that makes a sandbox in the directory given, prints its id and what isolates it,
/// and goes.
pub(crate) fn client(words: &[String]) -> ExitCode {
    let [state_dir, level @ ..] = words else {
        return ExitCode::from(2);
    };
    if level.iter().any(|word| word == "without-landlock") && super::landlock::switch_off().is_err()
    {
        return ExitCode::from(2);
    }
    let Ok(runtime) = tokio::runtime::Runtime::new() else {
        return ExitCode::FAILURE;
    };
    let created = runtime.block_on(async {
        let mut options = LocalOptions::default();
        options.state_dir = Some(state_dir.into());
        if let Some(level) = level.first() {
            options.isolation = level.parse()?;
        }
        LocalBackend::new(options)?.create(lasting()).await
    });
    match created {
        Ok(info) => {
            println!("{}", info.id);
            eprintln!(
                "{}: {}",
                info.isolation.kind,
                info.isolation.applied.join(", ")
            );
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Ends only at its hard end.
pub(crate) fn lasting() -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.lifetime.attach_timeout = None;
    spec
}

fn living_for(change: impl FnOnce(&mut Lifetime)) -> SandboxSpec {
    let mut spec = lasting();
    change(&mut spec.lifetime);
    spec
}

fn start_client(state_dir: &Path) -> Result<std::process::Child> {
    let program = std::env::current_exe()?;
    Ok(Command::new(program)
        .arg("client")
        .arg(state_dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?)
}

/// Waits for the last event.
async fn until_gone(world: &World, info: &SandboxInfo) -> Result {
    let mut events = world.backend.events(&info.id).await?;
    let mut last = None;
    timeout(LONG, async {
        while let Some(event) =
            std::future::poll_fn(|context| events.as_mut().poll_next(context)).await
        {
            last = Some(event?.kind);
        }
        Result::Ok(())
    })
    .await??;
    assert_eq!(last, Some(SandboxEventKind::Deleted));
    world.nothing_is_left(info).await
}

pub(crate) fn supervisor(world: &World, info: &SandboxInfo) -> Result<Pid> {
    let lock = std::fs::read_to_string(world.state(info).join("lock"))?;
    let pid = lock
        .split_whitespace()
        .next()
        .and_then(|pid| Pid::from_raw(pid.parse().ok()?));
    pid.ok_or_else(|| format!("no pid in {lock:?}").into())
}

async fn a_sandbox_outlives_its_maker() -> Result {
    let world = World::new()?;
    let made = start_client(world.backend.state_dir())?.wait_with_output()?;
    assert!(made.status.success());
    let id: SandboxId = String::from_utf8(made.stdout)?.trim().parse()?;
    let info = world.backend.get(&id, Freshness::Latest).await?;
    assert_eq!(world.run(&info, "echo found").await?.stdout, "found\n");
    assert_eq!(world.run(&info, "touch kept; ls").await?.stdout, "kept\n");
    world.backend.delete(&id, DeleteOptions::default()).await?;
    world.nothing_is_left(&info).await?;
    assert!(users_of(world.path()).is_empty());
    world.backend.delete(&id, DeleteOptions::default()).await?;
    assert!(matches!(
        world.backend.get(&id, Freshness::Latest).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        world.backend.access(&id).await,
        Err(Error::NotFound { .. })
    ));
    Ok(())
}

async fn a_sandbox_ends_with_its_time() -> Result {
    let world = World::new()?;
    for limit in [
        |life: &mut Lifetime| life.ttl = Some(Duration::from_secs(1)),
        |life: &mut Lifetime| life.max_lifetime = Duration::from_secs(1),
    ] {
        let info = world.backend.create(living_for(limit)).await?;
        until_gone(&world, &info).await?;
        let expires = info.expires_at.ok_or("no end")?;
        assert!(expires <= SystemTime::now(), "it ended before its time");
        assert!(matches!(
            world.backend.get(&info.id, Freshness::Cached).await,
            Err(Error::NotFound { .. })
        ));
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.is_final && diagnosis.summary.contains("lifetime ended"),
            "{diagnosis:?}"
        );
    }
    Ok(())
}

async fn the_end_can_be_put_off_up_to_the_hard_one() -> Result {
    let world = World::new()?;
    let spec = living_for(|life| {
        (life.ttl, life.max_lifetime) = (Some(Duration::from_secs(3)), Duration::from_secs(8))
    });
    let info = world.backend.create(spec).await?;
    let first = info.expires_at.ok_or("no end")?;
    let hard = info.created_at + Duration::from_secs(8);
    let (a, b) = tokio::join!(
        world.backend.extend(&info.id, Duration::from_secs(1)),
        world.backend.extend(&info.id, Duration::from_secs(3600))
    );
    assert!(a?.expires_at >= Some(first), "an extension never shortens");
    let put_off = b?.expires_at.ok_or("no end")?;
    assert!(put_off > first && put_off <= hard);
    while SystemTime::now() <= first {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    world.backend.get(&info.id, Freshness::Latest).await?;
    until_gone(&world, &info).await?;
    assert!(matches!(
        world.backend.extend(&info.id, LONG).await,
        Err(Error::NotFound { .. })
    ));
    Ok(())
}

async fn a_sandbox_left_alone_ends() -> Result {
    let world = World::new()?;
    for limit in [
        |life: &mut Lifetime| life.attach_timeout = Some(Duration::from_secs(1)),
        |life: &mut Lifetime| life.idle_timeout = Some(Duration::from_secs(1)),
    ] {
        let info = world.backend.create(living_for(limit)).await?;
        until_gone(&world, &info).await?;
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.is_final && diagnosis.summary.contains("idle"),
            "{diagnosis:?}"
        );
    }
    Ok(())
}

async fn a_sandbox_whose_server_dies_is_taken_away() -> Result {
    let world = World::new()?;
    let info = world.backend.create(lasting()).await?;
    let record = std::fs::read_to_string(world.state(&info).join("record.json"))?;
    let server = record
        .split("\"server\"")
        .nth(1)
        .and_then(|rest| rest.split("\"pid\":").nth(1))
        .and_then(|rest| rest.split(',').next());
    let server = server
        .and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?))
        .ok_or("no server in the record")?;
    let events = until_gone(&world, &info);
    kill_process(server, Signal::KILL)?;
    // The event stream may find it gone already.
    match events.await {
        Err(error) if error.to_string().contains("there is no sandbox") => {
            eventually("it is gone", || !world.state(&info).exists()).await?;
            world.nothing_is_left(&info).await
        }
        result => result,
    }
}

async fn a_killed_supervisor_leaves_nothing_after_a_sweep() -> Result {
    let world = World::new()?;
    let (dead, alive) = (
        world.backend.create(lasting()).await?,
        world.backend.create(lasting()).await?,
    );
    let access = world.backend.access(&dead.id).await?;
    let shell = super::support::Shell::open(&access).await?;
    let running = tokio::spawn(async move { shell.run("sleep 600 & sleep 600").await });
    kill_process(supervisor(&world, &dead)?, Signal::KILL)?;
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
        [&dead.id]
    );
    assert!(world.state(&dead).exists(), "a dry run removes nothing");
    // Its processes died with it, before anybody swept: the connection is lost.
    timeout(LONG, running).await??.ok();
    let swept = world.backend.sweep(SweepOptions::default()).await?.removed;
    assert_eq!(swept, dry);
    world.nothing_is_left(&dead).await?;
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

async fn a_list_removes_what_is_dead() -> Result {
    let world = World::new()?;
    let info = world.backend.create(lasting()).await?;
    kill_process(supervisor(&world, &info)?, Signal::KILL)?;
    let deadline = sandbox_core::Deadline::from_now(LONG);
    while world.state(&info).exists() && !deadline.has_passed() {
        assert!(world.backend.list(ListFilter::default()).await?.len() <= 1);
    }
    world.nothing_is_left(&info).await?;
    // The same by deleting it.
    let info = world.backend.create(lasting()).await?;
    kill_process(supervisor(&world, &info)?, Signal::KILL)?;
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.nothing_is_left(&info).await
}

/// Whoever is left knows that it has been acknowledged, and can be deleted; nothing else is.
async fn only_whole_ones_are_left(world: &World) -> Result {
    for info in world.backend.list(ListFilter::default()).await? {
        world
            .backend
            .delete(&info.id, DeleteOptions::default())
            .await?;
        world.nothing_is_left(&info).await?;
    }
    let entries = || {
        std::fs::read_dir(world.backend.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .map(|entry| entry.path())
            .collect::<Vec<PathBuf>>()
    };
    eventually("nothing is left", || {
        entries().is_empty() && users_of(world.path()).is_empty()
    })
    .await
}

async fn a_client_killed_while_creating_leaves_nothing() -> Result {
    let world = World::new()?;
    for step in 0..24_u64 {
        let mut client = start_client(world.backend.state_dir())?;
        std::thread::sleep(Duration::from_micros(step * 1500));
        client.kill()?;
        client.wait()?;
        // What it began is either finished or undone; both take a moment.
        let ids = || {
            std::fs::read_dir(world.backend.state_dir())
                .into_iter()
                .flatten()
                .flatten()
                .count()
        };
        let listed = world.backend.list(ListFilter::default()).await?.len();
        if ids() > listed {
            let deadline = sandbox_core::Deadline::from_now(LONG);
            while ids() > world.backend.list(ListFilter::default()).await?.len()
                && !deadline.has_passed()
            {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        }
        only_whole_ones_are_left(&world).await?;
    }
    Ok(())
}

async fn a_dropped_create_leaves_nothing() -> Result {
    a_dropped_create_leaves_nothing_by(IsolationLevel::Namespaces).await
}

pub(crate) async fn a_dropped_create_leaves_nothing_by(level: IsolationLevel) -> Result {
    let world = World::with(|options| options.isolation = level)?;
    for step in 0..24_u64 {
        if let Ok(created) = timeout(
            Duration::from_micros(step * 1500),
            world.backend.create(lasting()),
        )
        .await
        {
            let info = created?;
            world
                .backend
                .delete(&info.id, DeleteOptions::default())
                .await?;
        }
    }
    let entries = || {
        std::fs::read_dir(world.backend.state_dir())
            .into_iter()
            .flatten()
            .flatten()
            .count()
    };
    eventually("nothing is left", || {
        entries() == 0 && users_of(world.path()).is_empty()
    })
    .await
}

async fn an_id_is_used_once_at_a_time() -> Result {
    let world = World::new()?;
    let spec = || {
        let mut spec = lasting();
        spec.id = "mine".parse().ok();
        spec
    };
    let (one, other) = tokio::join!(world.backend.create(spec()), world.backend.create(spec()));
    let (made, refused) = if one.is_ok() {
        (one?, other)
    } else {
        (other?, one)
    };
    assert!(
        matches!(refused, Err(Error::AlreadyExists { .. })),
        "{refused:?}"
    );
    // Another instance is not meant.
    world
        .backend
        .delete(&made.id, DeleteOptions::for_instance(Uid::new("other")))
        .await?;
    assert_eq!(
        world.backend.get(&made.id, Freshness::Latest).await?.uid,
        made.uid
    );
    world
        .backend
        .delete(&made.id, DeleteOptions::for_instance(made.uid.clone()))
        .await?;
    world.nothing_is_left(&made).await?;
    let again = world.backend.create(spec()).await?;
    assert_ne!(again.uid, made.uid);
    // A dead one does not keep the id.
    kill_process(supervisor(&world, &again)?, Signal::KILL)?;
    let deadline = sandbox_core::Deadline::from_now(LONG);
    loop {
        match world.backend.create(spec()).await {
            Ok(third) => {
                assert_ne!(third.uid, again.uid);
                return super::support::leftovers(again.uid.as_str());
            }
            Err(Error::AlreadyExists { .. }) if !deadline.has_passed() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn a_long_path_is_no_obstacle() -> Result {
    let place = tempfile::tempdir()?;
    let long = place.path().join("x".repeat(120)).join("y".repeat(120));
    let world = World::with(|options| options.state_dir = Some(long))?;
    let info = world.create().await?;
    assert!(
        info.address
            .as_ref()
            .is_some_and(|address| address.len() > 240),
        "{:?}",
        info.address
    );
    assert_eq!(world.run(&info, "echo reached").await?.stdout, "reached\n");
    world
        .backend
        .delete(&info.id, DeleteOptions::default())
        .await?;
    world.nothing_is_left(&info).await
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
    world.nothing_is_left(&info).await
}
