//! No call waits forever for an API server that does not respond.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{
    Connector, Deadline, DeleteOptions, Error, Freshness, ListFilter, LogOptions, SandboxBackend,
    SweepOptions,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Transport;
use sandbox_testkit::apiserver::{ApiServer, Fault};
use serde_json::json;

use crate::support::{
    backend, backend_with, create_running, create_sandbox, options, server, spec,
};

const REQUESTS: [&str; 12] = [
    "create pods",
    "create secrets",
    "get pods",
    "get secrets",
    "get pods/log",
    "list pods",
    "list secrets",
    "list events",
    "watch pods",
    "patch pods",
    "delete pods",
    "delete secrets",
];

/// A server that no longer responds, a new backend of it, and a sandbox that it holds.
async fn unresponsive_server() -> (ApiServer, KubernetesBackend, sandbox_core::SandboxId) {
    let server = server();
    let id = create_running(&server).await.id;
    for what in REQUESTS {
        server.inject_always(what, Fault::Delay(Duration::from_secs(1_000_000)));
    }
    let backend = backend(&server);
    (server, backend, id)
}

/// The error of a call, which must fail long before the server would respond.
async fn expect_timeout_error<T>(
    what: &str,
    call: impl Future<Output = sandbox_core::Result<T>>,
) -> Error {
    match tokio::time::timeout(Duration::from_secs(300), call).await {
        Ok(Err(error)) => error,
        Ok(Ok(_)) => panic!("{what} succeeded without a response"),
        Err(_elapsed) => panic!("{what} waits forever"),
    }
}

/// A mistyped address fails sooner than an API server that restarts.
#[tokio::test(start_paused = true)]
async fn an_api_server_that_never_responded_is_given_up_soon() {
    let server = server();
    for what in REQUESTS {
        server.inject_always(what, Fault::CutBefore);
    }
    let away = backend(&server);
    let begun = tokio::time::Instant::now();
    let error = away.create(spec().1).await.unwrap_err();
    assert!(
        begun.elapsed() <= Duration::from_secs(10),
        "{:?}",
        begun.elapsed()
    );
    let text = error.to_string();
    assert!(
        text.contains("does not respond") && text.contains("context"),
        "{text}"
    );
    assert!(error.is_retryable());

    // A server that has responded before may be restarting.
    server.clear_faults();
    away.list(ListFilter::default()).await.unwrap();
    for what in REQUESTS {
        server.inject_always(what, Fault::CutBefore);
    }
    let begun = tokio::time::Instant::now();
    away.create(spec().1).await.unwrap_err();
    assert!(
        begun.elapsed() > Duration::from_secs(30),
        "{:?}",
        begun.elapsed()
    );
}

/// Retries as an SSH client does, until the connector says to stop.
#[tokio::test(start_paused = true)]
async fn an_ssh_server_that_never_listens_is_given_up_after_the_grace() {
    let server = server();
    let mut direct = options();
    direct.transport = Transport::Direct;
    let backend = backend_with(&server, direct);
    let info = create_sandbox(&backend).await;
    let endpoint = backend.access(&info.id).await.unwrap().endpoint;
    let connector = backend.connector();
    let far = Deadline::from_now(Duration::from_secs(3600));
    let connecting = async {
        loop {
            let Err(error) = connector.connect(&endpoint, far).await else {
                panic!("nothing listens there")
            };
            if connector.should_stop_retrying(&endpoint) {
                return error;
            }
        }
    };
    let waited_for = tokio::time::Instant::now();
    let starting = async {
        // A Pod that has not started yet is waited for without limit.
        tokio::time::sleep(Duration::from_secs(300)).await;
        server.run_pod(info.id.as_str());
        server.update("pods", info.id.as_str(), |pod| {
            pod["status"]["podIP"] = json!("127.0.0.1");
            pod["status"]["podIPs"] = json!([{"ip": "127.0.0.1"}]);
        });
    };
    let (error, ()) = tokio::join!(connecting, starting);
    let waited = waited_for.elapsed().as_secs();
    assert!((330..340).contains(&waited), "{waited}");
    assert!(error.is_unreachable());
    for word in [
        "within 30s of the start",
        "nothing listens on 127.0.0.1",
        "SANDBOX_TRANSPORT",
    ] {
        assert!(error.to_string().contains(word), "{error}");
    }
}

/// A client that still holds a handle of the sandbox would otherwise retry as long as it lives.
#[tokio::test(start_paused = true)]
async fn an_ssh_server_that_has_ended_is_given_up_at_once() {
    for deleted in [false, true] {
        let server = server();
        let backend = backend(&server);
        let info = create_sandbox(&backend).await;
        server.run_pod(info.id.as_str());
        let endpoint = backend.access(&info.id).await.unwrap().endpoint;
        let connector = backend.connector();
        assert!(!connector.should_stop_retrying(&endpoint));
        if deleted {
            server.remove("pods", info.id.as_str());
        } else {
            server.end_pod(info.id.as_str(), 137, "OOMKilled");
        }
        let begun = tokio::time::Instant::now();
        let error = connector
            .connect(&endpoint, Deadline::from_now(Duration::from_secs(60)))
            .await
            .err()
            .unwrap();
        let expected = if deleted {
            "the Pod does not exist any more"
        } else {
            "more memory"
        };
        assert!(
            error.is_unreachable() && error.to_string().contains(expected),
            "{error}"
        );
        assert!(
            connector.should_stop_retrying(&endpoint) && begun.elapsed() < Duration::from_secs(1),
            "{:?}",
            begun.elapsed()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn every_call_ends_without_a_response() {
    let (_server, backend, id) = unresponsive_server().await;
    let errors = [
        expect_timeout_error("create", backend.create(spec().1)).await,
        expect_timeout_error("get", backend.get(&id, Freshness::Latest)).await,
        expect_timeout_error("get from the cache", backend.get(&id, Freshness::Cached)).await,
        expect_timeout_error("list", backend.list(ListFilter::default())).await,
        expect_timeout_error("access", backend.access(&id)).await,
        expect_timeout_error("diagnose", backend.diagnose(&id)).await,
        expect_timeout_error("extend", backend.extend(&id, Duration::from_secs(60))).await,
        expect_timeout_error("delete", backend.delete(&id, DeleteOptions::default())).await,
        expect_timeout_error("sweep", backend.sweep(SweepOptions::default())).await,
    ];
    for error in &errors {
        assert!(
            error.is_retryable() && error.retry_after().is_some(),
            "{error}"
        );
        assert!(error.to_string().contains("does not respond"), "{error}");
    }
    assert!(
        expect_timeout_error("logs", backend.logs(&id, LogOptions::default()))
            .await
            .is_retryable()
    );
    expect_timeout_error("events", async { backend.events(&id).await.map(drop) }).await;
}

#[tokio::test(start_paused = true)]
async fn callers_that_share_a_probe_do_not_wait_for_each_other() {
    let server = server();
    // All creations share one probe for image volumes, which never gets a response.
    server.inject_always("create pods", Fault::Delay(Duration::from_secs(1_000_000)));
    let mut options = options();
    options.injection = Default::default();
    options.server_image = Some("registry.example/server:1".into());
    let backend = backend_with(&server, options);
    let creations = (0..20).map(|_| expect_timeout_error("create", backend.create(spec().1)));
    let errors = futures_util::future::join_all(creations).await;
    assert!(errors.iter().all(Error::is_retryable), "{errors:?}");
    server
        .wait_until(|server| server.object_names().is_empty())
        .await;
}

#[tokio::test(start_paused = true)]
async fn a_silently_dead_connection_is_noticed() {
    let server = server();
    let id = create_running(&server).await.id;
    let backend = backend(&server);
    let mut events = backend.events(&id).await.unwrap();
    server.wait_for_requests("watch pods", 1).await;
    // The second watch never delivers an event.
    server.inject(
        "watch pods",
        Fault::DelayEvents(Duration::from_secs(1_000_000)),
    );
    server.cut_watches();
    server.wait_for_requests("watch pods", 2).await;
    server.end_pod(id.as_str(), 1, "Error");
    let ended = tokio::time::timeout(Duration::from_secs(400), async {
        while let Some(event) = events.next().await {
            if event.unwrap().kind.is_final() {
                return true;
            }
        }
        false
    });
    assert!(ended.await.unwrap());
}
