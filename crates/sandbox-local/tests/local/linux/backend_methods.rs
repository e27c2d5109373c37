//! The methods of the backend: missing sandboxes, lists, events, logs and unsupported options.

use std::time::Duration;

use libtest_mimic::Trial;
use sandbox_core::{
    DeleteOptions, Error, Freshness, ListFilter, LogOptions, SandboxBackend, SandboxEventKind,
    SandboxId, SweepOptions,
};
use tokio::time::timeout;

use super::support::{Result, TIMEOUT, World, detached_spec, trials};

pub(crate) fn trials() -> Vec<Trial> {
    trials![
        a_missing_sandbox_is_not_found,
        sandboxes_are_listed_by_label,
        events_and_logs_follow_a_sandbox,
        a_damaged_record_hides_no_other_sandbox_and_can_be_deleted,
        unsupported_options_are_refused,
        a_state_directory_writable_by_others_is_refused,
    ]
}

async fn a_missing_sandbox_is_not_found() -> Result {
    let world = World::new()?;
    let id: SandboxId = "missing".parse()?;
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
    let assert_not_found =
        |error: Option<Error>| assert!(matches!(error, Some(Error::NotFound { .. })), "{error:?}");
    assert_not_found(world.backend.get(&id, Freshness::Cached).await.err());
    assert_not_found(world.backend.access(&id).await.err());
    assert_not_found(world.backend.events(&id).await.err());
    assert_not_found(world.backend.logs(&id, LogOptions::default()).await.err());
    assert_not_found(world.backend.diagnose(&id).await.err());
    assert_not_found(world.backend.extend(&id, TIMEOUT).await.err());
    assert!(
        !world.backend.state_dir().exists(),
        "a lookup must not create the state directory"
    );
    Ok(())
}

async fn sandboxes_are_listed_by_label() -> Result {
    let world = World::new()?;
    let labelled = |team: &str| {
        let mut spec = detached_spec();
        spec.labels.insert("team".into(), team.into());
        spec
    };
    let created = tokio::try_join!(
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
    let mut expected = [created.1.id, created.3.id];
    expected.sort();
    let mut ids: Vec<_> = some.into_iter().map(|info| info.id).collect();
    ids.sort();
    assert_eq!(ids, expected);
    Ok(())
}

async fn events_and_logs_follow_a_sandbox() -> Result {
    let world = World::new()?;
    let info = world.backend.create(detached_spec()).await?;
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
            .ok_or("the events have ended")??;
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
        TIMEOUT,
        std::future::poll_fn(|context| events.as_mut().poll_next(context)),
    )
    .await?
    .ok_or("the events have ended")??;
    assert_eq!(last.kind, SandboxEventKind::Deleted);
    timeout(TIMEOUT, async {
        while std::future::poll_fn(|context| logs.as_mut().poll_next(context))
            .await
            .is_some()
        {}
    })
    .await?;
    world.assert_nothing_left(&info).await
}

async fn a_damaged_record_hides_no_other_sandbox_and_can_be_deleted() -> Result {
    let world = World::new()?;
    let intact = world.backend.create(detached_spec()).await?;
    let damaged = world.backend.create(detached_spec()).await?;
    let file = world.state(&damaged).join("record.json");
    let content = std::fs::read_to_string(&file)?;
    std::fs::write(
        &file,
        content.replacen("\"version\": 1", "\"version\": 99", 1),
    )?;
    let error = world
        .backend
        .get(&damaged.id, Freshness::Latest)
        .await
        .err()
        .ok_or("the record was accepted")?;
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
        [intact.id]
    );
    world
        .backend
        .delete(&damaged.id, DeleteOptions::default())
        .await?;
    world.assert_nothing_left(&damaged).await
}

async fn unsupported_options_are_refused() -> Result {
    let world = World::new()?;
    let mut spec = detached_spec();
    spec.image = Some("python:3.12-slim".into());
    let error = world.create_error(spec).await?;
    assert!(
        matches!(error, Error::Unsupported { .. }) && error.to_string().contains("Kubernetes"),
        "{error}"
    );
    let mut spec = detached_spec();
    spec.pool = Some("ci".parse()?);
    let error = world.create_error(spec).await?;
    assert!(
        matches!(error, Error::Unsupported { .. })
            && error.to_string().contains("the shared pool ci"),
        "{error}"
    );
    for (backend, expected) in [("k8s", "SANDBOX_BACKEND=k8s"), ("local", "backend options")] {
        let mut spec = detached_spec();
        spec.backend_options.set(backend, "anything");
        let error = world.create_error(spec).await?;
        assert!(
            matches!(error, Error::Unsupported { .. }) && error.to_string().contains(expected),
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
        let mut spec = detached_spec();
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
            Err(Error::Unsupported(error)) => {
                assert!(
                    !supported
                        && error.operation.contains(resource)
                        && error.hint.contains("systemd-run"),
                    "{error}"
                );
            }
            Err(error) => return Err(error.into()),
        }
    }
    let mut spec = detached_spec();
    spec.lifetime.max_lifetime = Duration::ZERO;
    assert!(matches!(
        world.backend.create(spec).await,
        Err(Error::Invalid { .. })
    ));
    let relative =
        World::with_options(|options| options.read_only_paths = vec!["relative".into()])?;
    assert!(matches!(
        relative.backend.create(detached_spec()).await,
        Err(Error::Invalid { .. })
    ));
    let missing =
        World::with_options(|options| options.read_only_paths = vec!["/nonexistent/path".into()])?;
    let error = missing.create_error(detached_spec()).await?;
    assert!(error.to_string().contains("/nonexistent/path"), "{error}");
    assert!(
        missing.state_entries().is_empty(),
        "a failed creation has left files"
    );
    Ok(())
}

async fn a_state_directory_writable_by_others_is_refused() -> Result {
    use std::os::unix::fs::PermissionsExt;
    let world = World::new()?;
    std::fs::create_dir(world.backend.state_dir())?;
    std::fs::set_permissions(
        world.backend.state_dir(),
        std::fs::Permissions::from_mode(0o777),
    )?;
    let error = world.create_error(Default::default()).await?;
    assert!(error.to_string().contains("chmod"), "{error}");
    Ok(())
}
