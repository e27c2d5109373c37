//! Each call, refused in each way: the kind of the error, its message and whether it can be retried.

use std::time::Duration;

use sandbox_core::{Error, Freshness, SandboxBackend, SandboxId, SweepOptions};
use sandbox_k8s::KubernetesBackend;
use sandbox_testkit::apiserver::Fault;

use crate::support::{backend, create_running, create_sandbox, server, spec};

/// The error of a call whose request `what` fails with `fault`.
async fn error_when_refused(what: &str, fault: &Fault) -> Option<Error> {
    let server = server();
    let id = create_running(&server).await.id;
    server.inject_always(what, fault.clone());
    call(&backend(&server), &id, what).await
}

/// Makes the call that sends the request `what`, and returns its error.
pub(crate) async fn call(backend: &KubernetesBackend, id: &SandboxId, what: &str) -> Option<Error> {
    match what {
        "create pods" | "create secrets" => backend.create(spec().1).await.err(),
        "get pods" => backend.get(id, Freshness::Latest).await.err(),
        "get secrets" => backend.access(id).await.err(),
        "patch pods" => backend.extend(id, Duration::from_secs(3000)).await.err(),
        "delete pods" | "delete secrets" => backend.delete(id, Default::default()).await.err(),
        "list pods" => backend.list(Default::default()).await.err(),
        "list secrets" => backend.sweep(SweepOptions::default()).await.err(),
        other => panic!("{other}"),
    }
}

pub(crate) const CALLS: [&str; 9] = [
    "create pods",
    "create secrets",
    "get pods",
    "get secrets",
    "patch pods",
    "delete pods",
    "delete secrets",
    "list pods",
    "list secrets",
];

#[tokio::test(start_paused = true)]
async fn each_refusal_has_its_kind_and_message() {
    for what in CALLS {
        let (verb, resource) = what.split_once(' ').unwrap();
        let no_right = format!("no permission to {verb} {resource} in the namespace boxes");
        for (fault, expected, retryable) in [
            (Fault::Forbidden, no_right.as_str(), false),
            (
                Fault::refuse(401, "Unauthorized", "Unauthorized"),
                "expired",
                false,
            ),
            (Fault::unavailable(), "503", true),
            (Fault::CutBefore, "does not respond", true),
            (
                Fault::refuse(500, "InternalError", "etcdserver: no leader"),
                "no leader",
                true,
            ),
            (
                Fault::refuse(400, "BadRequest", "what is this"),
                "what is this",
                false,
            ),
        ] {
            let error = error_when_refused(what, &fault)
                .await
                .unwrap_or_else(|| panic!("{what} {fault:?} succeeded"));
            assert!(
                error.to_string().contains(expected),
                "{what} {fault:?}: {error}"
            );
            assert_eq!(
                (error.is_retryable(), error.retry_after().is_some()),
                (retryable, retryable),
                "{what} {fault:?}: {error}"
            );
            let kind = match verb {
                "create" => matches!(error, Error::Creation(_)),
                "delete" => matches!(error, Error::Deletion { .. }),
                _ => matches!(error, Error::Backend { .. }),
            };
            assert!(kind, "{what} {fault:?}: {error:?}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_missing_namespace_is_named() {
    let server = server();
    let mut options = crate::support::options();
    options.namespace = Some("nowhere".into());
    let backend = crate::support::backend_with(&server, options.clone());
    let error = backend.create(spec().1).await.unwrap_err();
    assert!(
        matches!(&error, Error::Config { message } if message.contains("namespace nowhere")),
        "{error}"
    );
    assert!(!error.to_string().contains("did you mean"), "{error}");
    options.namespace = Some("boxs".into());
    let slip = crate::support::backend_with(&server, options)
        .create(spec().1)
        .await
        .unwrap_err();
    assert!(
        slip.to_string().ends_with("(did you mean boxes?)"),
        "{slip}"
    );
    assert!(backend.list(Default::default()).await.unwrap().is_empty());
}

#[tokio::test(start_paused = true)]
async fn extending_a_sandbox_that_is_deleted_meanwhile_is_not_found() {
    let server = server();
    let backend = backend(&server);
    let info = create_sandbox(&backend).await;
    server.run_pod(info.id.as_str());
    server.inject("patch pods", Fault::Delay(Duration::from_millis(500)));
    let extension = backend.extend(&info.id, Duration::from_secs(3000));
    let deletion = async {
        server.wait_for_requests("patch pods", 1).await;
        crate::support::backend(&server)
            .delete(&info.id, crate::support::without_waiting())
            .await
            .unwrap();
    };
    let (extended, ()) = tokio::join!(extension, deletion);
    assert!(
        matches!(extended, Err(Error::NotFound { .. })),
        "{extended:?}"
    );
}
