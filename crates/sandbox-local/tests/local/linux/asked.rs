//! What a backend says when it is asked: of sandboxes that are there, that are not, and that cannot be.

use std::time::Duration;

use libtest_mimic::Trial;
use sandbox_core::{
    DeleteOptions, Error, Freshness, ListFilter, LogOptions, SandboxBackend, SandboxEventKind,
    SandboxId, SweepOptions,
};
use tokio::time::timeout;

use super::lifecycle::{LONG, lasting};
use super::support::{Result, World, trial};

pub(crate) fn trials() -> Vec<Trial> {
    vec![
        trial(
            "what_is_not_there_is_not_found",
            what_is_not_there_is_not_found,
        ),
        trial(
            "sandboxes_are_listed_by_label",
            sandboxes_are_listed_by_label,
        ),
        trial(
            "events_and_logs_tell_what_happened",
            events_and_logs_tell_what_happened,
        ),
        trial(
            "a_damaged_record_hides_nothing_and_can_be_deleted",
            a_damaged_record_hides_nothing_and_can_be_deleted,
        ),
        trial(
            "what_cannot_be_done_is_refused",
            what_cannot_be_done_is_refused,
        ),
    ]
}

async fn what_is_not_there_is_not_found() -> Result {
    let world = World::new()?;
    let id: SandboxId = "nobody".parse()?;
    world.backend.delete(&id, DeleteOptions::default()).await?;
    assert!(world.backend.list(ListFilter::default()).await?.is_empty());
    assert!(
        world
            .backend
            .sweep(SweepOptions::default())
            .await?
            .removed
            .is_empty()
    );
    let not_found =
        |error: Option<Error>| assert!(matches!(error, Some(Error::NotFound { .. })), "{error:?}");
    not_found(world.backend.get(&id, Freshness::Cached).await.err());
    not_found(world.backend.access(&id).await.err());
    not_found(world.backend.events(&id).await.err());
    not_found(world.backend.logs(&id, LogOptions::default()).await.err());
    not_found(world.backend.diagnose(&id).await.err());
    not_found(world.backend.extend(&id, LONG).await.err());
    assert!(!world.backend.state_dir().exists(), "looking makes nothing");
    Ok(())
}

async fn sandboxes_are_listed_by_label() -> Result {
    let world = World::new()?;
    let labelled = |team: &str| {
        let mut spec = lasting();
        spec.labels.insert("team".into(), team.into());
        spec
    };
    let made = tokio::try_join!(
        world.backend.create(labelled("a")),
        world.backend.create(labelled("b")),
        world.backend.create(labelled("a")),
        world.backend.create(labelled("b"))
    )?;
    let all = world.backend.list(ListFilter::default()).await?;
    assert_eq!(all.len(), 4);
    assert!(all.is_sorted_by_key(|info| info.created_at));
    let some = world
        .backend
        .list(ListFilter::from_labels([(
            "team".to_owned(),
            "b".to_owned(),
        )]))
        .await?;
    let mut expected = [made.1.id, made.3.id];
    expected.sort();
    let mut ids: Vec<_> = some.into_iter().map(|info| info.id).collect();
    ids.sort();
    assert_eq!(ids, expected);
    Ok(())
}

async fn events_and_logs_tell_what_happened() -> Result {
    let world = World::new()?;
    let info = world.backend.create(lasting()).await?;
    let mut events = world.backend.events(&info.id).await?;
    let mut logs = world
        .backend
        .logs(&info.id, {
            let mut options = LogOptions::default();
            options.follow = true;
            options
        })
        .await?;
    let diagnosis = world.backend.diagnose(&info.id).await?;
    assert!(
        !diagnosis.is_final && diagnosis.events.len() == 3,
        "{diagnosis:?}"
    );
    let mut kinds = Vec::new();
    for _ in 0..3 {
        let event = std::future::poll_fn(|context| events.as_mut().poll_next(context))
            .await
            .ok_or("the events end")??;
        kinds.push(event.kind);
    }
    assert_eq!(
        kinds,
        [
            SandboxEventKind::Created,
            SandboxEventKind::Started,
            SandboxEventKind::Addressed
        ]
    );
    let mut options = DeleteOptions::default();
    options.wait = false;
    world.backend.delete(&info.id, options).await?;
    let last = timeout(
        LONG,
        std::future::poll_fn(|context| events.as_mut().poll_next(context)),
    )
    .await?
    .ok_or("the events end")??;
    assert_eq!(last.kind, SandboxEventKind::Deleted);
    timeout(LONG, async {
        while std::future::poll_fn(|context| logs.as_mut().poll_next(context))
            .await
            .is_some()
        {}
    })
    .await?;
    world.nothing_is_left(&info).await
}

async fn a_damaged_record_hides_nothing_and_can_be_deleted() -> Result {
    let world = World::new()?;
    let (whole, damaged) = (
        world.backend.create(lasting()).await?,
        world.backend.create(lasting()).await?,
    );
    let file = world.state(&damaged).join("record.json");
    let good = std::fs::read_to_string(&file)?;
    std::fs::write(&file, good.replacen("\"version\": 1", "\"version\": 99", 1))?;
    let error = world
        .backend
        .get(&damaged.id, Freshness::Latest)
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(error.to_string().contains("format 99"), "{error}");
    std::fs::write(&file, "{")?;
    assert!(
        world
            .backend
            .get(&damaged.id, Freshness::Latest)
            .await
            .is_err()
    );
    let listed = world.backend.list(ListFilter::default()).await?;
    assert_eq!(
        listed.into_iter().map(|info| info.id).collect::<Vec<_>>(),
        [whole.id]
    );
    world
        .backend
        .delete(&damaged.id, DeleteOptions::default())
        .await?;
    world.nothing_is_left(&damaged).await
}

async fn what_cannot_be_done_is_refused() -> Result {
    let world = World::new()?;
    let mut spec = lasting();
    spec.image = Some("python:3.12-slim".into());
    let error = world
        .backend
        .create(spec)
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(
        matches!(error, Error::Unsupported { .. }) && error.to_string().contains("Kubernetes"),
        "{error}"
    );
    for (backend, said) in [("k8s", "SANDBOX_BACKEND=k8s"), ("local", "of its own")] {
        let mut spec = lasting();
        spec.backend_options.set(backend, "anything");
        let error = world
            .backend
            .create(spec)
            .await
            .err()
            .ok_or("it was accepted")?;
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains(said),
            "{error}"
        );
    }
    let capabilities = world.backend.capabilities();
    assert!(!capabilities.images && !capabilities.network && capabilities.limits.disk);
    for (supported, resource) in [
        (capabilities.limits.memory, "memory"),
        (capabilities.limits.cpu, "cpu"),
        (capabilities.limits.pids, "pids"),
    ] {
        let mut spec = lasting();
        match resource {
            "memory" => spec.resources.memory = Some("64Mi".parse()?),
            "cpu" => spec.resources.cpu = Some("500m".parse()?),
            _ => spec.resources.pids = Some(50),
        }
        match world.backend.create(spec).await {
            Ok(info) => assert!(
                supported && info.limits.iter().any(|limit| limit.resource == resource),
                "{resource}: {info:?}"
            ),
            Err(Error::Unsupported {
                operation, hint, ..
            }) => {
                assert!(
                    !supported && operation.contains(resource) && hint.contains("systemd-run"),
                    "{operation} {hint}"
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut spec = lasting();
    spec.lifetime.max_lifetime = Duration::ZERO;
    assert!(matches!(
        world.backend.create(spec).await,
        Err(Error::Invalid { .. })
    ));
    let relative = World::with(|options| options.read_only_paths = vec!["relative".into()])?;
    assert!(matches!(
        relative.backend.create(lasting()).await,
        Err(Error::Invalid { .. })
    ));
    let missing =
        World::with(|options| options.read_only_paths = vec!["/nonexistent/path".into()])?;
    let error = missing
        .backend
        .create(lasting())
        .await
        .err()
        .ok_or("it was accepted")?;
    assert!(error.to_string().contains("/nonexistent/path"), "{error}");
    assert!(
        std::fs::read_dir(missing.backend.state_dir())?
            .next()
            .is_none(),
        "a failed creation left something"
    );
    Ok(())
}
