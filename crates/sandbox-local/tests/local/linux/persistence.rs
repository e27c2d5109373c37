//! Sandboxes outlive their client and are found by their id.

use libtest_mimic::Trial;
use rustix::process::{Signal, kill_process};
use sandbox_core::{DeleteOptions, Error, Freshness, SandboxBackend, SandboxId, Uid};

use super::client_process::start_client_process;
use super::support::{
    Result, TIMEOUT, World, check_leftovers, detached_spec, processes_using, trials,
};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_sandbox_outlives_its_client,
        an_id_is_used_once_at_a_time,
        a_long_state_directory_works,
    ]
}

async fn a_sandbox_outlives_its_client() -> Result {
    let world = World::new()?;
    let created = start_client_process(world.backend.state_dir())?.wait_with_output()?;
    assert!(created.status.success());
    let id: SandboxId = String::from_utf8(created.stdout)?.trim().parse()?;
    let info = world.backend.get(&id, Freshness::Latest).await?;
    assert_eq!(world.run(&info, "echo found").await?.stdout, "found\n");
    assert_eq!(world.run(&info, "touch file; ls").await?.stdout, "file\n");
    world.backend.delete(&id, DeleteOptions::default()).await?;
    world.assert_nothing_left(&info).await?;
    assert!(processes_using(world.path()).is_empty());
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

async fn an_id_is_used_once_at_a_time() -> Result {
    let world = World::new()?;
    let spec = || {
        let mut spec = detached_spec();
        spec.id = "mine".parse().ok();
        spec
    };
    let (one, other) = tokio::join!(world.backend.create(spec()), world.backend.create(spec()));
    let (created, refused) = if one.is_ok() {
        (one?, other)
    } else {
        (other?, one)
    };
    assert!(
        matches!(refused, Err(Error::AlreadyExists { .. })),
        "{refused:?}"
    );
    // A delete of another instance has no effect.
    world
        .backend
        .delete(&created.id, DeleteOptions::for_instance(Uid::new("other")))
        .await?;
    assert_eq!(
        world.backend.get(&created.id, Freshness::Latest).await?.uid,
        created.uid
    );
    world
        .backend
        .delete(
            &created.id,
            DeleteOptions::for_instance(created.uid.clone()),
        )
        .await?;
    world.assert_nothing_left(&created).await?;
    let second = world.backend.create(spec()).await?;
    assert_ne!(second.uid, created.uid);
    // An ended sandbox does not keep its id.
    kill_process(world.supervisor_pid(&second)?, Signal::KILL)?;
    let deadline = sandbox_core::Deadline::from_now(TIMEOUT);
    loop {
        match world.backend.create(spec()).await {
            Ok(third) => {
                assert_ne!(third.uid, second.uid);
                return check_leftovers(second.uid.as_str());
            }
            Err(Error::AlreadyExists { .. }) if !deadline.has_passed() => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn a_long_state_directory_works() -> Result {
    let parent = tempfile::tempdir()?;
    let long = parent.path().join("x".repeat(120)).join("y".repeat(120));
    let world = World::with_options(|options| options.state_dir = Some(long))?;
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
    world.assert_nothing_left(&info).await
}
