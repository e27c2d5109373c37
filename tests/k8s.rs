//! The conformance list on a real cluster, and what only this backend has.
//!
//! `SANDBOX_TEST_KUBECONFIG` names the kubeconfig of a cluster that Pods may be made in; without
//! it nothing runs here, and that is said, or fails where `SANDBOX_TEST_REQUIRE` lists `cluster`.
//! Its nodes need two images:
//! `SANDBOX_TEST_IMAGE` (a shell and the usual tools; default `localhost/busybox:1`) and
//! `SANDBOX_TEST_SERVER_IMAGE` (`cargo xtask image`; default `localhost/sandbox-sshd:VERSION`).
//! `SANDBOX_TEST_TRANSPORT` is `direct`, `port-forward` or `auto`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a failed assertion is the point")]

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use libtest_mimic::{Arguments, Trial};
use sandbox::{
    Client, CreationReason, Defaults, DeleteOptions, Error, Lifetime, SandboxBackend, SandboxId, SandboxSpec,
};
use sandbox_k8s::options::{KubernetesOptions, PullPolicy, Transport};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};
use sandbox_testkit::peers;
use sandbox_tests::{Outcome, World, conformance};
use tokio::runtime::Runtime;

fn main() -> std::process::ExitCode {
    let arguments = Arguments::from_args();
    if std::env::var_os(KUBECONFIG).is_none() {
        peers::skip("cluster", &format!("needs a cluster ({KUBECONFIG} names its kubeconfig)"));
        return std::process::ExitCode::SUCCESS;
    }
    let runtime =
        Arc::new(tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime"));
    let world = World::new({
        let runtime = Arc::clone(&runtime);
        move |defaults| client(&runtime, defaults)
    });
    let mut trials = conformance(&world, runtime.handle());
    let mut own = |name: &'static str, run: fn() -> Running| {
        let handle = runtime.handle().clone();
        trials.push(Trial::test(name, move || {
            handle.block_on(run()).map_err(|error| error.to_string().into())
        }));
    };
    own("k8s::a_dropped_creation_leaves_nothing", || Box::pin(a_dropped_creation_leaves_nothing()));
    own("k8s::a_missing_image_is_told", || Box::pin(a_missing_image_is_told()));
    own("k8s::no_room_is_told", || Box::pin(no_room_is_told()));
    own("k8s::no_rights_are_told", || Box::pin(no_rights_are_told()));
    own("k8s::both_ways_at_once", || Box::pin(both_ways_at_once()));
    libtest_mimic::run(&arguments, trials).exit_code()
}

const KUBECONFIG: &str = "SANDBOX_TEST_KUBECONFIG";

type Running = std::pin::Pin<Box<dyn Future<Output = Outcome> + Send>>;

fn client(runtime: &Runtime, mut defaults: Defaults) -> Client {
    // Other clients shall take a sandbox up, which is for detached ones: an attached one's key
    // is its maker's alone.
    let lifetime = &mut defaults.lifetime;
    lifetime.attach_timeout.take_if(|timeout| *timeout == Lifetime::DEFAULT_ATTACH);
    defaults.image = Some(image());
    // A runtime's own thread may not wait for it.
    let handle = runtime.handle().clone();
    let made = std::thread::spawn(move || handle.block_on(backend(options())));
    parts(made.join().expect("a client").expect("a cluster"), defaults)
}

fn parts(backend: KubernetesBackend, defaults: Defaults) -> Client {
    let sessions =
        sandbox_ssh::SshSessions::new(Arc::new(backend.connector()), sandbox_ssh::SshOptions::default());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults)
}

async fn backend(options: KubernetesOptions) -> sandbox::Result<KubernetesBackend> {
    let mut cluster = ClusterOptions::default();
    cluster.kubeconfig = std::env::var_os(KUBECONFIG).map(Into::into);
    Ok(KubernetesBackend::new(connect_cluster(&cluster).await?, options))
}

fn options() -> KubernetesOptions {
    let version = env!("CARGO_PKG_VERSION");
    let server = std::env::var("SANDBOX_TEST_SERVER_IMAGE");
    let mut options = KubernetesOptions::default();
    options.server_image = Some(server.unwrap_or_else(|_| format!("localhost/sandbox-sshd:{version}")));
    options.image_pull_policy = Some(PullPolicy::IfNotPresent);
    options.transport = match std::env::var("SANDBOX_TEST_TRANSPORT").as_deref() {
        Ok("direct") => Transport::Direct,
        Ok("port-forward") => Transport::PortForward,
        _ => Transport::Auto,
    };
    options
}

fn image() -> String {
    std::env::var("SANDBOX_TEST_IMAGE").unwrap_or_else(|_| "localhost/busybox:1".into())
}

fn spec(image: &str) -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.image = Some(image.to_owned());
    spec
}

async fn a_dropped_creation_leaves_nothing() -> Outcome {
    let backend = backend(options()).await?;
    for patience in [0, 1, 5, 20, 60] {
        let id = SandboxId::generate()?;
        let mut spec = spec(&image());
        spec.id = Some(id.clone());
        let creation = backend.create(spec);
        if tokio::time::timeout(Duration::from_millis(patience), creation).await.is_ok() {
            backend.delete(&id, DeleteOptions::default()).await?;
        }
        // It may be sent still; then it is undone.
        tokio::time::sleep(Duration::from_secs(2)).await;
        for _ in 0..200 {
            match backend.get(&id, sandbox::Freshness::Latest).await {
                Err(Error::NotFound { .. }) => break,
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
        let left = backend.get(&id, sandbox::Freshness::Latest).await;
        assert!(matches!(left, Err(Error::NotFound { .. })), "{patience} ms: {left:?}");
    }
    Ok(())
}

/// Creates what cannot come to be, and returns how that is told.
async fn failure(spec: SandboxSpec, options: KubernetesOptions) -> sandbox::Result<String> {
    let backend = backend(options).await?;
    let info = backend.create(spec).await?;
    let mut events = backend.events(&info.id).await?;
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event?);
    }
    let diagnosis = backend.diagnose(&info.id).await?;
    let mut unwaited = DeleteOptions::default();
    unwaited.wait = false;
    backend.delete(&info.id, unwaited).await?;
    let last = last.expect("an event");
    assert!(last.kind.is_final(), "{last:?}");
    Ok(format!("{} | {}", last.message, diagnosis.summary))
}

async fn a_missing_image_is_told() -> Outcome {
    let mut options = options();
    options.image_pull_policy = Some(PullPolicy::Never);
    let told = failure(spec("localhost/no-such-image:1"), options).await?;
    assert!(told.contains("no-such-image"), "{told}");
    Ok(())
}

async fn no_room_is_told() -> Outcome {
    let mut options = options();
    options.startup_grace = Duration::from_secs(1);
    let mut spec = spec(&image());
    spec.resources.memory = Some("100Ti".parse()?);
    let told = failure(spec, options).await?;
    assert!(told.contains("Insufficient memory"), "{told}");
    Ok(())
}

async fn no_rights_are_told() -> Outcome {
    let mut elsewhere = options();
    elsewhere.namespace = Some("no-such-namespace".into());
    let error = backend(elsewhere).await?.create(spec(&image())).await.unwrap_err();
    assert!(error.to_string().contains("no-such-namespace"), "{error}");
    if let Error::Creation(creation) = error {
        assert_eq!(creation.reason, CreationReason::Rejected);
    }
    Ok(())
}

/// Much in both directions of one connection, which a shared queue would not survive.
async fn both_ways_at_once() -> Outcome {
    const BYTES: usize = 64 << 20;
    let mut options = options();
    options.transport = Transport::PortForward;
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    let client = parts(backend(options).await?, defaults);
    let sbx = client.sandbox().create().await?;
    let content = vec![0x5a; BYTES];
    let outcome = async {
        sbx.files().write("down", content.clone()).await?;
        let files = sbx.files();
        let (up, down) = tokio::join!(files.write("up", content.clone()), files.read("down"));
        up?;
        assert!(down? == content);
        let out = sbx.command("cmp").args(["up", "down"]).output().await?;
        assert!(out.status.success(), "{out:?}");
        Ok(())
    }
    .await;
    sbx.delete().await?;
    outcome
}
