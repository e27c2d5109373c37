//! The installation of an SSH server into a Pod.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::StreamExt;
use sandbox_core::{
    ByteStream, ConnectionStage, Deadline, DeleteOptions, Error, Freshness, HostKeyProbe, KeyPair,
    PublicKey, Result, SandboxBackend, SandboxEventKind, SandboxId,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{ImageServer, Injection, KubernetesOptions, SecurityProfile};
use sandbox_testkit::apiserver::{ApiServer, Fault, ImageVolumes};
use serde_json::{Value, json};

use crate::{backend, spec};

/// Creates a sandbox, and returns whether an image volume brings its server.
async fn create_and_detect_volume(
    server: &ApiServer,
    backend: &KubernetesBackend,
) -> (SandboxId, bool) {
    let (id, spec) = spec();
    backend.create(spec).await.unwrap();
    let pod = server.object("pods", id.as_str()).unwrap();
    let volume = &pod["spec"]["volumes"][0];
    let copied = pod["spec"].get("initContainers").is_some();
    assert_ne!(
        volume["image"].is_object(),
        copied,
        "either a volume or an init container: {pod}"
    );
    (id, !copied)
}

fn count_dry_runs(server: &ApiServer) -> usize {
    server.requests().iter().filter(|seen| seen.dry_run).count()
}

#[tokio::test(start_paused = true)]
async fn support_for_image_volumes_is_probed_once() {
    for (volumes, expected) in [
        (ImageVolumes::Supported, true),
        (ImageVolumes::Unknown, false),
        (ImageVolumes::Disabled, false),
        (ImageVolumes::Refused, false),
    ] {
        let server = ApiServer::new("boxes");
        server.set_image_volumes(volumes);
        let backend = backend(&server, |_| {});
        let (first, second) = tokio::join!(
            create_and_detect_volume(&server, &backend),
            create_and_detect_volume(&server, &backend)
        );
        assert_eq!((first.1, second.1), (expected, expected), "{volumes:?}");
        assert_eq!(
            create_and_detect_volume(&server, &backend).await.1,
            expected
        );
        assert_eq!(count_dry_runs(&server), 1, "{volumes:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unrelated_failure_of_the_probe_is_not_cached() {
    let policy = "ValidatingAdmissionPolicy 'team' with binding 'team' denied request: label cost-centre is required";
    for fault in [
        Fault::unavailable(),
        Fault::CutBefore,
        Fault::Delay(Duration::from_secs(60)),
        Fault::refuse(422, "Invalid", policy),
    ] {
        let server = ApiServer::new("boxes");
        server.inject("create pods", fault.clone());
        let backend = backend(&server, |_| {});
        assert!(
            !create_and_detect_volume(&server, &backend).await.1,
            "{fault:?}: falls back to an init container"
        );
        assert!(
            create_and_detect_volume(&server, &backend).await.1,
            "{fault:?}: probes again"
        );
        assert_eq!(count_dry_runs(&server), 2);
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_volume_that_stays_empty_is_replaced_by_an_init_container() {
    let server = ApiServer::new("boxes");
    server.set_image_volumes(ImageVolumes::NotMounted);
    let backend = backend(&server, |_| {});
    let (id, volume) = create_and_detect_volume(&server, &backend).await;
    assert!(volume);
    let mut events = backend.events(&id).await.unwrap();
    server.run_pod(id.as_str());
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.unwrap());
    }
    assert_eq!(last.unwrap().kind, SandboxEventKind::Failed);
    assert!(
        backend.diagnose(&id).await.unwrap().has_fallback,
        "a new sandbox would use an init container"
    );

    let (id, volume) = create_and_detect_volume(&server, &backend).await;
    assert!(!volume);
    server.end_pod(id.as_str(), 1, "Error");
    let mut events = backend.events(&id).await.unwrap();
    while events.next().await.is_some() {}
    assert!(
        !backend.diagnose(&id).await.unwrap().has_fallback,
        "an init container has no fallback"
    );
    assert_eq!(count_dry_runs(&server), 1);
}

/// A probe that counts its calls and never returns a key.
#[derive(Debug, Default)]
struct Probe(AtomicUsize);

#[async_trait]
impl HostKeyProbe for Probe {
    async fn host_key(&self, _: Box<dyn ByteStream>, _: Deadline) -> Result<PublicKey> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Err(Error::connection(
            ConnectionStage::HostKey,
            "must not be called",
            None,
        ))
    }
}

fn use_image_sshd(options: &mut KubernetesOptions) {
    options.injection = Injection::Image(ImageServer::default());
    options.security = SecurityProfile::Baseline;
}

#[tokio::test(start_paused = true)]
async fn an_image_sshd_gets_no_host_key_and_supports_hard_ends_only() {
    let server = ApiServer::new("boxes");
    let backend = backend(&server, use_image_sshd).with_host_key_probe(Arc::new(Probe::default()));
    let (id, mut wanted) = spec();
    wanted.lifetime.ttl = Some(Duration::from_secs(600));
    let info = backend.create(wanted).await.unwrap();
    assert_eq!((info.port, info.user.as_str()), (Some(22), "root"));
    assert_eq!(
        info.expires_at,
        Some(info.created_at + Duration::from_secs(600))
    );
    let pod = server.object("pods", id.as_str()).unwrap();
    assert_eq!(pod["spec"]["activeDeadlineSeconds"], 600);
    assert_eq!(pod["spec"]["containers"][0]["command"], Value::Null);
    let names = server.object_names();
    let name = names
        .iter()
        .find_map(|name| name.strip_prefix("secrets/"))
        .unwrap();
    let secret = server.object("secrets", name).unwrap();
    let keys: Vec<_> = secret["data"]
        .as_object()
        .unwrap()
        .keys()
        .cloned()
        .collect();
    assert_eq!(keys, ["authorized-keys"]);
    assert_eq!(count_dry_runs(&server), 0);
    assert!(!backend.capabilities().sandbox_sshd);

    let (_, mut wanted) = spec();
    wanted.lifetime.idle_timeout = Some(Duration::from_secs(60));
    let before = server.count_writes();
    assert!(matches!(
        backend.create(wanted).await,
        Err(Error::Unsupported { .. })
    ));
    assert_eq!(server.count_writes(), before);
}

#[tokio::test(start_paused = true)]
async fn an_impossible_image_sshd_is_rejected_before_any_request() {
    let server = ApiServer::new("boxes");
    let restricted = backend(&server, |options| {
        use_image_sshd(options);
        options.security = SecurityProfile::Restricted;
    });
    let restricted = restricted.with_host_key_probe(Arc::new(Probe::default()));
    for (backend, expected) in [
        (restricted, "needs root"),
        (backend(&server, use_image_sshd), "with_host_key_probe"),
    ] {
        let error = backend.create(spec().1).await.unwrap_err();
        assert!(matches!(error, Error::Config { .. }), "{error}");
        assert!(error.to_string().contains(expected), "{error}");
    }
    assert!(server.object_names().is_empty() && server.requests().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_learned_host_key_is_shared_with_other_clients_and_pinned() {
    let server = ApiServer::new("boxes");
    let probe = Arc::new(Probe::default());
    let creator = backend(&server, use_image_sshd).with_host_key_probe(Arc::clone(&probe) as _);
    let (id, mut wanted) = spec();
    wanted.lifetime.attach_timeout = None;
    creator.create(wanted).await.unwrap();
    let learned = KeyPair::generate().unwrap().public;
    let annotate = |key: &str| {
        server.update("pods", id.as_str(), |pod| {
            pod["metadata"]["annotations"]["sandbox.dev/host-key"] = json!(key);
        });
    };
    annotate(learned.as_str());
    let other = backend(&server, use_image_sshd).with_host_key_probe(Arc::clone(&probe) as _);
    assert_eq!(other.access(&id).await.unwrap().host_key, learned);
    // The key is pinned: a later change of the annotation has no effect.
    annotate(KeyPair::generate().unwrap().public.as_str());
    other.get(&id, Freshness::Latest).await.unwrap();
    assert_eq!(other.access(&id).await.unwrap().host_key, learned);
    assert_eq!(probe.0.load(Ordering::Relaxed), 0);
    let mut unwaited = DeleteOptions::default();
    unwaited.wait = false;
    other.delete(&id, unwaited).await.unwrap();
}
