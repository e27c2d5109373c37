//! The manifests that are sent, as files: `UPDATE_GOLDEN=1 cargo test -p sandbox-k8s` writes
//! them anew, otherwise they are compared.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic as tests do")]

use std::path::Path;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Error, KeyPair, Lifetime, Result, SandboxId, SandboxSpec, Uid};
use sandbox_k8s::internals::labels::PoolRef;
use sandbox_k8s::internals::pod::{self, PodParams};
use sandbox_k8s::internals::secret::{KeySecret, SandboxKeys};
use sandbox_k8s::options::{
    Architecture, AuthorizedKey, ImageServer, InjectVia, Injection, KubernetesOptions, PodOptions,
    PodSecurityContext, PodVolume, PullPolicy, SecurityContext, SecurityProfile, ServerPrograms,
    VolumeSource,
};
use serde::Serialize;
use serde_json::json;

fn id() -> SandboxId {
    "sbx-k3v9q2xw7d".parse().unwrap()
}

fn spec() -> SandboxSpec {
    let mut spec = SandboxSpec::default();
    spec.image = Some("python:3.12-slim".into());
    spec
}

fn options(injection: Injection) -> KubernetesOptions {
    let mut options = KubernetesOptions::default();
    options.server_image = Some("registry.example.com/sandbox-sshd:0.1.0".into());
    options.injection = injection;
    options
}

fn build(spec: &SandboxSpec, options: &KubernetesOptions) -> Result<Pod> {
    build_for_pool(spec, options, None)
}

fn build_for_pool(
    spec: &SandboxSpec,
    options: &KubernetesOptions,
    pool: Option<&PoolRef>,
) -> Result<Pod> {
    pod::build(PodParams {
        id: &id(),
        namespace: "sandboxes",
        nonce: "n0nce",
        secret: &Uid::new("5ec7e700-0000-4000-8000-000000000001"),
        spec,
        options,
        pod: &PodOptions::from_spec(spec)?,
        pool,
    })
}

fn assert_matches_file(name: &str, manifest: &impl Serialize) {
    let text = format!("{}\n", serde_json::to_string_pretty(manifest).unwrap());
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|value| value == "1") {
        std::fs::write(&path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}; UPDATE_GOLDEN=1 writes it", path.display()));
    assert!(
        text == expected,
        "{name} differs; UPDATE_GOLDEN=1 writes it anew. It is now:\n{text}"
    );
}

#[test]
fn each_injection_method_has_its_manifest() {
    let via = |via| options(Injection::Inject(via));
    assert_matches_file(
        "baked.json",
        &build(&spec(), &options(Injection::baked())).unwrap(),
    );
    assert_matches_file(
        "init-container.json",
        &build(&spec(), &via(InjectVia::InitContainer)).unwrap(),
    );
    assert_matches_file(
        "image-volume.json",
        &build(&spec(), &via(InjectVia::ImageVolume)).unwrap(),
    );
    let mut upload = via(InjectVia::Upload);
    upload.server_programs =
        ServerPrograms::default().with_loader(Architecture::Amd64, || Ok(Vec::new()));
    assert_matches_file("upload.json", &build(&spec(), &upload).unwrap());
    upload.injection = Injection::Inject(InjectVia::UploadVolume);
    assert_matches_file("upload-volume.json", &build(&spec(), &upload).unwrap());
    // Until the cluster was probed, `Auto` means the init container, which every cluster supports.
    assert_matches_file(
        "init-container.json",
        &build(&spec(), &via(InjectVia::Auto)).unwrap(),
    );
}

#[test]
fn an_uploaded_server_gets_a_volume_where_that_costs_nothing_or_is_needed() {
    let mut upload = options(Injection::Inject(InjectVia::Upload));
    upload.server_programs =
        ServerPrograms::default().with_loader(Architecture::Amd64, || Ok(Vec::new()));
    let volumes = |patch: serde_json::Value| {
        let mut upload = upload.clone();
        upload.pod.patch = Some(json!({"spec": patch}));
        let spec = build(&spec(), &upload).unwrap().spec.unwrap();
        let names = spec.volumes.unwrap_or_default().into_iter();
        names.map(|volume| volume.name).collect::<Vec<_>>()
    };
    assert_eq!(volumes(json!({"hostname": "box"})), [""; 0]);
    let context = json!({"readOnlyRootFilesystem": true});
    let main = json!({"name": "sandbox", "securityContext": context});
    assert_eq!(volumes(json!({"containers": [main]})), ["sandbox-server"]);
    let another = json!({"volumes": [{"name": "data", "emptyDir": {}}]});
    assert_eq!(volumes(another).len(), 2);
    // What a patch adds may rely on the volume.
    let beside = json!({"containers": [{"name": "proxy", "image": "proxy:1"}]});
    assert_eq!(volumes(beside), ["sandbox-server"]);
}

#[test]
fn a_sandbox_of_a_shared_pool_has_its_manifest() {
    let pool = PoolRef::parse("ci/0123456789abcdef");
    let pod = build_for_pool(&spec(), &options(Injection::baked()), pool.as_ref());
    assert_matches_file("pool-member.json", &pod.unwrap());
}

#[test]
fn an_image_sshd_has_its_manifest() {
    let mut file = options(Injection::Image(ImageServer::default()));
    file.security = SecurityProfile::Baseline;
    assert_matches_file("image-sshd-file.json", &build(&spec(), &file).unwrap());

    let mut server = ImageServer::default();
    (server.user, server.port) = ("app".into(), 2222);
    server.authorized_key = AuthorizedKey::Env("PUBLIC_KEY".into());
    assert_matches_file(
        "image-sshd-env.json",
        &build(&spec(), &options(Injection::Image(server))).unwrap(),
    );
}

#[test]
fn every_option_appears_in_the_manifest() {
    let mut spec = spec();
    spec.resources.cpu = Some("500m".parse().unwrap());
    spec.resources.memory = Some("512Mi".parse().unwrap());
    spec.resources.disk = Some("2Gi".parse().unwrap());
    spec.labels.insert("team".into(), "ml".into());
    spec.annotations
        .insert("gateway/metadata".into(), "{\"a\": 1}".into());
    spec.lifetime.ttl = Some(Duration::from_secs(1800));
    spec.lifetime.idle_timeout = Some(Duration::from_millis(90_500));
    spec.lifetime.attach_timeout = None;
    spec.lifetime.first_login_timeout = Some(Duration::from_secs(300));

    let mut options = options(Injection::Inject(InjectVia::InitContainer));
    options.image_pull_policy = Some(PullPolicy::IfNotPresent);
    options.image_pull_secrets = vec!["registry".into()];
    options.pod = PodOptions::new()
        .service_account("runner")
        .runtime_class("gvisor")
        .priority_class("batch")
        .node_selector("disk", "ssd")
        .tolerate("nvidia.com/gpu")
        .host_alias("10.0.0.5", ["mirror.example.com"])
        .extended_resource("nvidia.com/gpu", "1")
        .annotation("example.com/run", "42")
        .volume(PodVolume::new("scratch", "/scratch", VolumeSource::EmptyDir(Some("1Gi".into()))))
        .volume(
            PodVolume::new("data", "/data", VolumeSource::PersistentVolumeClaim("dataset".into())).read_only(),
        )
        .volume(PodVolume::new("config", "/etc/app", VolumeSource::ConfigMap("app".into())))
        .volume(PodVolume::new("token", "/run/token", VolumeSource::Secret("token".into())))
        .patch(json!({"spec": {
        "hostname": "box",
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "zone", "operator": "In", "values": ["a"]}]}]}}},
        "containers": [{"name": "sandbox", "env": [{"name": "TZ", "value": "UTC"}]}],
    }}));
    assert_matches_file("everything.json", &build(&spec, &options).unwrap());

    // The same options, given for one sandbox, produce the same Pod.
    let mut plain = self::options(Injection::Inject(InjectVia::InitContainer));
    let own = std::mem::take(&mut options.pod)
        .image_pull_secret("registry")
        .image_pull_policy(PullPolicy::IfNotPresent);
    spec.backend_options.set("k8s", own.to_value().unwrap());
    plain.pod = PodOptions::new().service_account("default");
    assert_matches_file("everything.json", &build(&spec, &plain).unwrap());
}

#[test]
fn options_of_one_sandbox_are_merged_with_those_of_the_backend() {
    let mut spec = spec();
    spec.resources.cpu = Some("2".parse().unwrap());
    spec.resources.memory = Some("4Gi".parse().unwrap());
    let own = PodOptions::new()
        .request("cpu", "250m")
        .node_selector("disk", "nvme")
        .tolerate("spot")
        .volume(
            PodVolume::new("data", "/data", VolumeSource::Memory(Some("1Gi".into()))).sub_path("a"),
        )
        .image_pull_secret("mine")
        .image_pull_policy(PullPolicy::Always)
        .security_profile(SecurityProfile::Baseline)
        .patch(json!({"spec": {"hostname": "one"}}));
    spec.backend_options.set("k8s", own.to_value().unwrap());
    let mut options = options(Injection::Inject(InjectVia::InitContainer));
    options.image_pull_secrets = vec!["registry".into()];
    options.pod = PodOptions::new()
        .node_selector("disk", "ssd")
        .node_selector("zone", "a")
        .tolerate("gpu")
        .volume(PodVolume::new(
            "data",
            "/data",
            VolumeSource::PersistentVolumeClaim("dataset".into()),
        ))
        .patch(json!({"spec": {"hostname": "all", "subdomain": "boxes"}}));
    assert_matches_file("one-sandbox.json", &build(&spec, &options).unwrap());
}

/// Kubernetes would replace `$(NAME)` and read `$$` as `$`.
#[test]
fn the_path_of_a_server_in_the_image_is_run_as_given() {
    let path = "/opt/$(HOME)/$$a";
    let manifest = build(&spec(), &options(Injection::Baked { path: path.into() })).unwrap();
    let manifest = serde_json::to_value(&manifest).unwrap().to_string();
    assert!(
        manifest.contains(r#""command":["/opt/$$(HOME)/$$$$a"]"#),
        "{manifest}"
    );
}

#[test]
fn other_security_settings_appear_in_the_manifest() {
    let mut ranges = options(Injection::baked());
    ranges.run_as = None;
    assert_matches_file("user-from-platform.json", &build(&spec(), &ranges).unwrap());

    let mut custom = options(Injection::Inject(InjectVia::InitContainer));
    custom.security = SecurityProfile::Custom {
        pod: Box::new(PodSecurityContext {
            run_as_user: Some(0),
            ..PodSecurityContext::default()
        }),
        container: Box::new(SecurityContext {
            read_only_root_filesystem: Some(true),
            ..SecurityContext::default()
        }),
    };
    assert_matches_file("custom-security.json", &build(&spec(), &custom).unwrap());
}

#[test]
fn each_kind_of_secret_has_its_manifest() {
    let (host, client) = (KeyPair::generate().unwrap(), KeyPair::generate().unwrap());
    for (name, host, stored) in [
        ("secret-attached.json", Some(&host.private), None),
        (
            "secret-detached.json",
            Some(&host.private),
            Some(&client.private),
        ),
        ("secret-image-sshd.json", None, None),
    ] {
        let keys = SandboxKeys {
            host,
            authorized: &client.public,
            client: stored,
        };
        let secret = KeySecret::new(&id(), "sandboxes", "n0nce", keys, None);
        assert_secret_matches_file(name, &secret);
    }
    let keys = SandboxKeys {
        host: Some(&host.private),
        authorized: &client.public,
        client: Some(&client.private),
    };
    let pool = PoolRef::parse("ci/0123456789abcdef");
    let member = KeySecret::new(&id(), "sandboxes", "n0nce", keys, None).with_pool(pool.as_ref());
    assert_secret_matches_file("secret-pool-member.json", &member);
    let pod = Uid::new("9002e900-0000-4000-8000-000000000001");
    let claim = KeySecret::for_claim(
        &id(),
        "sandboxes",
        "c1a1m",
        &pod,
        &host.public,
        &client.private,
    );
    assert_secret_matches_file("secret-claim.json", &claim);
}

fn assert_secret_matches_file(name: &str, secret: &KeySecret) {
    let mut shown = secret.manifest().clone();
    for (key, value) in shown.data.iter_mut().flatten() {
        *value = ByteString(format!("<{key}>").into_bytes());
    }
    assert_matches_file(name, &shown);
}

#[test]
fn an_impossible_pod_is_rejected_with_the_reason() {
    type Change = fn(&mut SandboxSpec, &mut KubernetesOptions);
    let table: [(&str, Change); 19] = [
        ("SANDBOX_IMAGE", |spec, _| spec.image = None),
        ("SANDBOX_SERVER_IMAGE", |_, options| {
            options.server_image = None
        }),
        ("podPidsLimit", |spec, _| spec.resources.pids = Some(100)),
        ("68 years", |spec, _| {
            spec.lifetime.max_lifetime = Duration::from_secs(1 << 31)
        }),
        ("ttl", |spec, _| {
            spec.lifetime.ttl = Some(Lifetime::DEFAULT_MAX * 2)
        }),
        ("reserved", |spec, _| {
            _ = spec.labels.insert("sandbox.dev/id".into(), "x".into())
        }),
        ("SDK's own", |_, options| {
            _ = options
                .pod
                .annotations
                .insert("sandbox.dev/nonce".into(), "x".into())
        }),
        ("absolute", |_, options| {
            options.injection = Injection::Baked {
                path: "sandbox-sshd".into(),
            }
        }),
        ("needs root", |_, options| {
            options.injection = Injection::Image(ImageServer::default())
        }),
        ("below 1024", |_, options| {
            let mut server = ImageServer::default();
            server.user = "app".into();
            options.injection = Injection::Image(server);
        }),
        ("user 0", |_, options| options.run_as = Some(0)),
        ("nvidia.com/gpu", |_, options| {
            _ = options
                .pod
                .extended_resources
                .insert("cpu".into(), "1".into())
        }),
        ("taken", |_, options| {
            options.pod.volumes = vec![empty("sandbox-server", "/a")]
        }),
        ("taken", |_, options| {
            options.pod.volumes = vec![empty("a", "/a"), empty("a", "/b")]
        }),
        ("absolute", |_, options| {
            options.pod.volumes = vec![empty("a", "a")]
        }),
        ("root", |_, options| {
            options.pod.volumes = vec![empty("a", "//")]
        }),
        ("SSH server", |_, options| {
            options.pod.volumes = vec![empty("a", "/.sandbox/bin")]
        }),
        ("..", |_, options| {
            options.pod.volumes = vec![empty("a", "/x/../.sandbox")]
        }),
        ("Pod patch", |_, options| {
            options.pod.patch = Some(json!({"metadata": {"name": "x"}}))
        }),
    ];
    for (expected, change) in table {
        let (mut spec, mut options) = (spec(), options(Injection::default()));
        change(&mut spec, &mut options);
        let error = build(&spec, &options).expect_err(expected);
        assert!(error.to_string().contains(expected), "{expected}: {error}");
        assert!(
            matches!(
                error,
                Error::Config { .. } | Error::Invalid { .. } | Error::Unsupported { .. }
            ),
            "{error:?}"
        );
    }
}

fn empty(name: &str, path: &str) -> PodVolume {
    PodVolume::new(name, path, VolumeSource::EmptyDir(None))
}
