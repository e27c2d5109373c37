//! The ends of sandboxes: lifetimes, timeouts and a dead server.

use std::time::{Duration, SystemTime};

use libtest_mimic::Trial;
use rustix::process::{Pid, Signal, kill_process};
use sandbox_core::{
    EndCause, Error, Freshness, Lifetime, SandboxBackend, SandboxEventKind, SandboxInfo,
    SandboxSpec,
};
use sandbox_local::IsolationLevel;
use tokio::time::timeout;

use super::support::{Result, TIMEOUT, World, detached_spec, trials, wait_until};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_sandbox_ends_after_its_lifetime,
        the_soft_end_can_be_extended_up_to_the_hard_end,
        an_idle_or_unattached_sandbox_ends,
        a_sandbox_whose_server_dies_is_removed,
        a_server_that_a_signal_kills_has_not_reached_its_lifetime,
    ]
}

async fn a_sandbox_ends_after_its_lifetime() -> Result {
    let world = World::new()?;
    for limit in [
        |lifetime: &mut Lifetime| lifetime.ttl = Some(Duration::from_secs(1)),
        |lifetime: &mut Lifetime| lifetime.max_lifetime = Duration::from_secs(1),
    ] {
        let info = world.backend.create(spec_with_lifetime(limit)).await?;
        wait_for_end(&world, &info).await?;
        let expires = info.expires_at.ok_or("no end")?;
        assert!(expires <= SystemTime::now(), "it ended too early");
        assert!(matches!(
            world.backend.get(&info.id, Freshness::Cached).await,
            Err(Error::NotFound { .. })
        ));
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.is_final && diagnosis.summary.contains("lifetime ended"),
            "{diagnosis:?}"
        );
        assert_eq!(diagnosis.end, Some(EndCause::Lifetime));
    }
    Ok(())
}

async fn the_soft_end_can_be_extended_up_to_the_hard_end() -> Result {
    let world = World::new()?;
    let spec = spec_with_lifetime(|lifetime| {
        lifetime.ttl = Some(Duration::from_secs(3));
        lifetime.max_lifetime = Duration::from_secs(8);
    });
    let info = world.backend.create(spec).await?;
    let first = info.expires_at.ok_or("no end")?;
    let hard = info.created_at + Duration::from_secs(8);
    let (short, long) = tokio::join!(
        world.backend.extend(&info.id, Duration::from_secs(1)),
        world.backend.extend(&info.id, Duration::from_secs(3600))
    );
    assert!(
        short?.expires_at >= Some(first),
        "an extension never shortens"
    );
    let extended = long?.expires_at.ok_or("no end")?;
    assert!(extended > first && extended <= hard);
    // That the sandbox lives so long is up to its server as well, which a session tells.
    let described = world.backend.get(&info.id, Freshness::Latest).await?;
    assert_eq!(described.expires_at, Some(extended));
    wait_for_end(&world, &info).await?;
    assert!(matches!(
        world.backend.extend(&info.id, TIMEOUT).await,
        Err(Error::NotFound { .. })
    ));
    Ok(())
}

async fn an_idle_or_unattached_sandbox_ends() -> Result {
    let world = World::new()?;
    type Limit = fn(&mut Lifetime);
    let limits: [(Limit, EndCause, &str); 3] = [
        (
            |lifetime| lifetime.attach_timeout = Some(Duration::from_secs(1)),
            EndCause::NotAttached,
            "no client was connected",
        ),
        (
            |lifetime| lifetime.idle_timeout = Some(Duration::from_secs(1)),
            EndCause::Idle,
            "idle",
        ),
        // Its creator was killed before it could connect.
        (
            |lifetime| lifetime.first_login_timeout = Some(Duration::from_secs(1)),
            EndCause::NeverUsed,
            "no client",
        ),
    ];
    for (limit, cause, message) in limits {
        let info = world.backend.create(spec_with_lifetime(limit)).await?;
        wait_for_end(&world, &info).await?;
        let diagnosis = world.backend.diagnose(&info.id).await?;
        assert!(
            diagnosis.is_final && diagnosis.summary.contains(message),
            "{diagnosis:?}"
        );
        assert_eq!(diagnosis.end, Some(cause));
    }
    Ok(())
}

/// The process in the record: the server, or its keeper where there is no pid namespace.
fn recorded_process(world: &World, info: &SandboxInfo) -> Result<Pid> {
    let record = std::fs::read_to_string(world.state(info).join("record.json"))?;
    let server = record
        .split("\"server\"")
        .nth(1)
        .and_then(|rest| rest.split("\"pid\":").nth(1))
        .and_then(|rest| rest.split(',').next());
    let server = server.and_then(|pid| Pid::from_raw(pid.trim().parse().ok()?));
    Ok(server.ok_or("no server in the record")?)
}

/// Without a pid namespace, the server is a child of its keeper.
async fn a_server_that_a_signal_kills_has_not_reached_its_lifetime() -> Result {
    let world = World::with_options(|options| options.isolation = IsolationLevel::Landlock)?;
    let info = world.backend.create(detached_spec()).await?;
    let keeper = recorded_process(&world, &info)?.as_raw_nonzero();
    let children = std::fs::read_to_string(format!("/proc/{keeper}/task/{keeper}/children"))?;
    let server = children.split_whitespace().next().ok_or("no server")?;
    let server = Pid::from_raw(server.parse()?).ok_or("no pid")?;
    kill_process(server, Signal::KILL)?;
    wait_until("the sandbox is deleted", || !world.state(&info).exists()).await?;
    let diagnosis = world.backend.diagnose(&info.id).await?;
    assert_eq!(diagnosis.end, Some(EndCause::Failed), "{diagnosis:?}");
    Ok(())
}

async fn a_sandbox_whose_server_dies_is_removed() -> Result {
    let world = World::new()?;
    let info = world.backend.create(detached_spec()).await?;
    let server = recorded_process(&world, &info)?;
    let events = wait_for_end(&world, &info);
    kill_process(server, Signal::KILL)?;
    // The sandbox may be deleted before the event stream starts.
    match events.await {
        Err(error) if error.to_string().contains("there is no sandbox") => {
            wait_until("the sandbox is deleted", || !world.state(&info).exists()).await?;
            world.assert_nothing_left(&info).await?;
        }
        result => result?,
    }
    let diagnosis = world.backend.diagnose(&info.id).await?;
    assert_eq!(diagnosis.end, Some(EndCause::Failed), "{diagnosis:?}");
    Ok(())
}

fn spec_with_lifetime(change: impl FnOnce(&mut Lifetime)) -> SandboxSpec {
    let mut spec = detached_spec();
    change(&mut spec.lifetime);
    spec
}

/// Waits for the last event.
async fn wait_for_end(world: &World, info: &SandboxInfo) -> Result {
    let mut events = world.backend.events(&info.id).await?;
    let mut last = None;
    timeout(TIMEOUT, async {
        while let Some(event) =
            std::future::poll_fn(|context| events.as_mut().poll_next(context)).await
        {
            last = Some(event?.kind);
        }
        Result::Ok(())
    })
    .await??;
    assert_eq!(last, Some(SandboxEventKind::Deleted));
    world.assert_nothing_left(info).await
}
