//! Creation, lookup, lifetime and deletion of sandboxes.

use std::time::{Duration, SystemTime};

use sandbox::{Error, ExecRequest, ListFilter, MAX_ANNOTATIONS, SandboxId, SandboxState, Uid};

use crate::case::{Outcome, TestedBackend};
use crate::cases;
use crate::support::wait_until_deleted;

cases![
    a_sandbox_is_found_by_id_and_label,
    annotations_are_kept_and_changed,
    unknown_and_deleted_ids_are_not_found,
    an_id_is_unique_and_can_be_reused,
    the_ttl_ends_a_sandbox_unless_it_is_extended,
    a_ttl_begins_after_the_initial_commands,
    the_end_can_be_set_exactly,
    an_attached_sandbox_ends_without_a_client,
    a_failed_initial_command_leaves_nothing,
    sandboxes_can_be_used_by_id_alone,
];

async fn a_sandbox_is_found_by_id_and_label(backend: TestedBackend) -> Outcome {
    let mark = SandboxId::generate()?;
    let sbx = backend
        .sandbox()
        .label("mark", mark.as_str())
        .ttl(Duration::from_secs(900))
        .create()
        .await?;
    let outcome = async {
        let found = backend
            .new_client()
            .list(ListFilter::from_labels([("mark".into(), mark.to_string())]))
            .await?;
        assert_eq!(
            found.iter().map(|info| &info.id).collect::<Vec<_>>(),
            [sbx.id()]
        );
        // The backend may report that the sandbox runs after its first command has run; a busy kubelet, much later.
        let client = backend.new_client();
        let mut info = client.get_sandbox_info(sbx.id()).await?;
        for _ in 0..600 {
            if info.state != SandboxState::Pending {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
            info = client.get_sandbox_info(sbx.id()).await?;
        }
        assert_eq!((info.state, &info.uid), (SandboxState::Running, sbx.uid()));
        let life = info.expires_at.unwrap().duration_since(info.created_at)?;
        assert!(
            life > Duration::from_secs(890) && life < Duration::from_secs(910),
            "{life:?}"
        );
        assert!(!info.isolation.kind.is_empty());
        let other = backend.new_client().connect(sbx.id()).await?;
        other.files().write("shared", "x").await?;
        assert!(sbx.files().exists("shared").await?);
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn unknown_and_deleted_ids_are_not_found(backend: TestedBackend) -> Outcome {
    let unknown = SandboxId::generate()?;
    assert!(matches!(
        backend.connect(&unknown).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        backend.get_sandbox_info(&unknown).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        backend.execute_command(&unknown, "true").await,
        Err(Error::NotFound { .. })
    ));
    backend.delete_sandbox(&unknown).await?;

    let sbx = backend.sandbox().create().await?;
    let running = tokio::spawn(sbx.command("sleep").arg("1000").output());
    tokio::time::sleep(Duration::from_millis(200)).await;
    sbx.delete().await?;
    sbx.delete().await?;
    backend.delete_sandbox(sbx.id()).await?;
    let lost = running.await?;
    assert!(
        matches!(
            lost,
            Err(Error::Command { .. } | Error::Connection(_) | Error::NotFound { .. })
        ),
        "{lost:?}"
    );
    assert!(sbx.command("true").output().await.is_err());
    assert!(matches!(
        backend.get_sandbox_info(sbx.id()).await,
        Err(Error::NotFound { .. })
    ));
    assert!(matches!(
        backend.new_client().connect(sbx.id()).await,
        Err(Error::NotFound { .. })
    ));
    Ok(())
}

async fn an_id_is_unique_and_can_be_reused(backend: TestedBackend) -> Outcome {
    let sbx = backend.sandbox().create().await?;
    let second = backend.sandbox().id(sbx.id().as_str()).create().await;
    assert!(
        matches!(second, Err(Error::AlreadyExists { .. })),
        "{second:?}"
    );
    sbx.command("true").output().await?.check()?;
    // After the deletion the id is free, and a new sandbox with it is another instance.
    sbx.delete().await?;
    let next = backend.sandbox().id(sbx.id().as_str()).create().await?;
    assert_ne!(next.uid(), sbx.uid());
    sbx.delete().await?; // the old instance; the new one must stay
    next.command("true").output().await?.check()?;
    next.delete().await?;
    Ok(())
}

async fn the_ttl_ends_a_sandbox_unless_it_is_extended(backend: TestedBackend) -> Outcome {
    // On a busy machine the first session takes seconds.
    let expiring = backend
        .sandbox()
        .ttl(Duration::from_secs(12))
        .create()
        .await?;
    let extended = backend
        .sandbox()
        .ttl(Duration::from_secs(12))
        .max_lifetime(Duration::from_secs(120))
        .create()
        .await?;
    let info = extended.extend(Duration::from_secs(3600)).await?;
    let life = info.expires_at.unwrap().duration_since(info.created_at)?;
    assert!(
        life <= Duration::from_secs(121),
        "extended beyond max_lifetime: {life:?}"
    );
    wait_until_deleted(&backend, expiring.id()).await?;
    extended.command("true").output().await?.check()?;
    extended.delete().await?;
    Ok(())
}

async fn a_ttl_begins_after_the_initial_commands(backend: TestedBackend) -> Outcome {
    // An image's own server has one that begins with the sandbox.
    if !backend.capabilities().server_enforces_ttl {
        return Ok(());
    }
    const TTL: Duration = Duration::from_secs(12);
    let sbx = backend
        .sandbox()
        .ttl(TTL)
        .init(ExecRequest::from_shell("sleep 13"))
        .create()
        .await?;
    let end = sbx.info().expires_at.ok_or("no end")?;
    // The clocks of the client and of the cluster may differ a little.
    let tolerance = Duration::from_secs(30);
    assert!(end < SystemTime::now() + TTL + tolerance, "{end:?}");
    sbx.command("true").output().await?.check()?;
    sbx.delete().await?;
    Ok(())
}

async fn the_end_can_be_set_exactly(backend: TestedBackend) -> Outcome {
    const LATER: Duration = Duration::from_secs(3600);
    // One with a ttl, and one that has none yet.
    let brief = backend.sandbox().ttl(LATER).create().await?;
    let ended = backend.sandbox().create().await?;
    let kept = backend
        .sandbox()
        .ttl(Duration::from_secs(30))
        .create()
        .await?;
    let before = SystemTime::now();
    let info = brief.set_ttl(Duration::from_secs(5)).await?;
    let end = info.expires_at.ok_or("no end")?;
    // The clocks of the client and of the cluster may differ a little.
    let tolerance = Duration::from_secs(30);
    assert!(end < before + Duration::from_secs(5) + tolerance, "{end:?}");
    ended.set_ttl(Duration::ZERO).await?;
    // An image's own server has ends that can only come sooner.
    let can_postpone = backend.capabilities().server_enforces_ttl;
    if can_postpone {
        let info = kept.set_ttl(LATER).await?;
        assert!(info.expires_at > Some(SystemTime::now() + LATER / 2));
        // It may also be moved back and forth.
        kept.set_ttl(Duration::from_secs(60)).await?;
        kept.extend(LATER).await?;
    }
    // A busy cluster takes a while, perhaps until the first end of the one that is kept.
    wait_until_deleted(&backend, ended.id()).await?;
    wait_until_deleted(&backend, brief.id()).await?;
    if can_postpone {
        // It outlives its first end.
        let rest = before + Duration::from_secs(31);
        tokio::time::sleep(rest.duration_since(SystemTime::now()).unwrap_or_default()).await;
        kept.command("true").output().await?.check()?;
    }
    kept.delete().await?;
    Ok(())
}

async fn annotations_are_kept_and_changed(backend: TestedBackend) -> Outcome {
    const METADATA: &str = "{\"name\": \"Zo\u{eb}\",\n \"task\": \"a=b, c\"}";
    // A chosen id without a dash.
    let id: SandboxId = format!("g{}", &Uid::generate()?.as_str()[1..]).parse()?;
    let sbx = backend
        .sandbox()
        .id(id.as_str())
        .annotation("gateway/metadata", METADATA)
        .annotation("step", "1")
        .create()
        .await?;
    let outcome = async {
        assert_eq!(sbx.info().annotations["gateway/metadata"], METADATA);
        let other = backend.new_client();
        let found = other.get_sandbox_info(&id).await?;
        assert_eq!(found.annotations, sbx.info().annotations);
        let selected = ListFilter::from_labels([("step".into(), "1".into())]);
        assert!(other.list(selected).await?.is_empty());

        let info = sbx.annotate([("step", "2"), ("gateway/owner", "")]).await?;
        assert_eq!(info.annotations.len(), 3);
        assert_eq!(info.annotations["step"], "2");
        let listed = backend.new_client().list(ListFilter::default()).await?;
        let listed = listed.iter().find(|listed| listed.id == id);
        assert_eq!(
            listed.map(|info| &info.annotations),
            Some(&info.annotations)
        );

        let large = "x".repeat(MAX_ANNOTATIONS - 10);
        let refused = sbx.annotate([("large", large.as_str())]).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        let refused = sbx.annotate([("not a key", "")]).await;
        assert!(matches!(refused, Err(Error::Invalid { .. })), "{refused:?}");
        assert_eq!(sbx.refresh().await?.annotations, info.annotations);
        Outcome::Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}

async fn an_attached_sandbox_ends_without_a_client(backend: TestedBackend) -> Outcome {
    let mut defaults = sandbox::Defaults::default();
    defaults.lifetime.attach_timeout = Some(Duration::from_secs(10));
    let creator = backend.new_client_with(defaults);
    let attached = creator.sandbox().create().await?;
    // Longer than the attach timeout: the handle keeps the sandbox alive.
    tokio::time::sleep(Duration::from_secs(13)).await;
    attached.command("true").output().await?.check()?;
    let id = attached.id().clone();
    drop((attached, creator));
    wait_until_deleted(&backend, &id).await
}

async fn a_failed_initial_command_leaves_nothing(backend: TestedBackend) -> Outcome {
    let id = SandboxId::generate()?;
    let error = backend
        .sandbox()
        .id(id.as_str())
        .init(ExecRequest::from_shell("echo no >&2; exit 9"))
        .create()
        .await;
    assert!(matches!(error, Err(Error::Creation(_))), "{error:?}");
    // The error is returned before the deletion has finished.
    wait_until_deleted(&backend, &id).await
}

async fn sandboxes_can_be_used_by_id_alone(backend: TestedBackend) -> Outcome {
    let id = backend.create_sandbox(backend.sandbox()).await?;
    let directory = tempfile::tempdir()?;
    let from = directory.path().join("from");
    let to = directory.path().join("to");
    std::fs::write(&from, "b\na\n")?;
    backend.upload_file(&id, &from, "data").await?;
    backend
        .execute_command(&id, "sort data > sorted")
        .await?
        .check()?;
    backend.download_file(&id, "sorted", &to).await?;
    assert_eq!(std::fs::read_to_string(to)?, "a\nb\n");
    backend.shutdown_sandbox(&id).await?;
    assert!(matches!(
        backend.get_sandbox_info(&id).await,
        Err(Error::NotFound { .. })
    ));
    Ok(())
}
