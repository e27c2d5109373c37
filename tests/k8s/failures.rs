//! What is told of a sandbox that cannot come to be, or that is taken away: at which step, why,
//! and what to do, in one sentence; and that nothing of it stays.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::{ConfigMap, LimitRange, Namespace, ResourceQuota};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sandbox::{
    CommandCause, CreationError, CreationReason, CreationStage, Defaults, Error, SandboxBuilder,
    SandboxEventKind, SandboxId,
};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Injection, KubernetesOptions, PodOptions, VolumeAt, VolumeSource};

use crate::cluster::{
    admin_backend, api, client_for, image, namespace, options, remove_namespace,
    wait_for_service_account,
};

cases![
    an_image_that_cannot_be_fetched,
    an_image_with_a_bad_name,
    no_room_and_no_such_node,
    a_full_quota_and_a_limit_range,
    what_admission_does_not_find,
    volumes_of_nothing,
    a_server_that_is_not_there,
    an_image_of_root,
    nothing_listens,
    a_hard_end_that_the_server_does_not_keep,
    a_program_for_another_processor,
    a_disk_that_is_too_small,
    too_little_memory,
    memory_that_no_process_can_give_back,
];

/// Fails to create, and gives the error: of which nothing is left by then.
async fn failing(
    options: KubernetesOptions,
    ask: impl FnOnce(SandboxBuilder) -> SandboxBuilder,
) -> Outcome<CreationError> {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    defaults.create_timeout = Duration::from_secs(60);
    // The account of the tests has rights in their namespace alone.
    let backend = match options.namespace.as_deref() == Some(namespace()) {
        true => admin_backend(options).await?,
        false => KubernetesBackend::new(api().await?, options),
    };
    let client = client_for(backend, defaults);
    let told = match ask(client.sandbox()).create().await {
        Ok(sandbox) => {
            sandbox.delete().await?;
            return Err("it was created".into());
        }
        Err(Error::Creation(error)) => *error,
        Err(other) => return Err(format!("another error: {other:?}").into()),
    };
    println!("{told}");
    assert!(!told.message.contains('\n'), "one line: {told}");
    Ok(told)
}

/// The same, asking a Pod for something.
async fn with(options: KubernetesOptions, pod: PodOptions) -> Outcome<CreationError> {
    let pod = pod.to_value()?;
    failing(options, |builder| builder.backend_options("k8s", pod)).await
}

/// Obstacles that may clear are not waited for any longer than this.
fn impatient() -> KubernetesOptions {
    let mut options = options();
    options.startup_grace = Duration::from_secs(4);
    options
}

fn is(told: &CreationError, reason: CreationReason, words: &[&str]) {
    assert_eq!(
        (told.stage, told.reason),
        (CreationStage::Provision, reason),
        "{told}"
    );
    for word in words {
        assert!(told.message.contains(word), "{word:?} is not in: {told}");
    }
}

async fn an_image_that_cannot_be_fetched(_: TestedBackend) -> Outcome {
    // Where there is no registry, nobody knows whether the image exists.
    let told = failing(impatient(), |builder| builder.image("localhost:1/none:1")).await?;
    is(
        &told,
        CreationReason::ImagePull,
        &["localhost:1/none:1", "connection refused"],
    );
    assert!(
        told.events
            .iter()
            .any(|event| event.kind == SandboxEventKind::Pulling),
        "{:?}",
        told.events
    );
    assert!(
        told.events
            .iter()
            .any(|event| event.kind == SandboxEventKind::Warning),
        "{:?}",
        told.events
    );
    // A pull secret that there is not, is not what the cluster complains of.
    let pod = PodOptions::new().image_pull_secret("none");
    let pod = pod.to_value()?;
    let ask = |builder: SandboxBuilder| {
        builder
            .image("localhost:1/none:2")
            .backend_options("k8s", pod)
    };
    is(
        &failing(impatient(), ask).await?,
        CreationReason::ImagePull,
        &["localhost:1/none:2"],
    );
    Ok(())
}

async fn an_image_with_a_bad_name(_: TestedBackend) -> Outcome {
    let told = failing(options(), |builder| builder.image("localhost/Upper:1")).await?;
    is(
        &told,
        CreationReason::ImagePull,
        &["localhost/Upper:1", "must be lowercase"],
    );
    Ok(())
}

async fn no_room_and_no_such_node(_: TestedBackend) -> Outcome {
    let told = failing(impatient(), |builder| builder.memory("100Ti")).await?;
    is(
        &told,
        CreationReason::Unschedulable,
        &["Insufficient memory", "ask for less"],
    );
    let told = with(
        impatient(),
        PodOptions::new().node_selector("disk", "of-gold"),
    )
    .await?;
    is(
        &told,
        CreationReason::Unschedulable,
        &["match Pod's node affinity", "--show-labels"],
    );
    let told = with(
        impatient(),
        PodOptions::new().extended_resource("example.com/quantum", "1"),
    )
    .await?;
    is(
        &told,
        CreationReason::Unschedulable,
        &["Insufficient example.com/quantum"],
    );
    Ok(())
}

async fn a_full_quota_and_a_limit_range(_: TestedBackend) -> Outcome {
    let api = api().await?;
    let name = format!("test-{}", SandboxId::generate()?);
    let mut own = Namespace::default();
    own.metadata.name = Some(name.clone());
    Api::all(api.clone())
        .create(&PostParams::default(), &own)
        .await?;
    wait_for_service_account(&api, &name).await?;
    let outcome = limited(&api, &name).await;
    remove_namespace(&api, &name).await?;
    outcome
}

async fn limited(api: &kube::Client, name: &str) -> Outcome {
    let mut options = options();
    options.namespace = Some(name.to_owned());
    let mut range = LimitRange::default();
    range.metadata.name = Some("small".into());
    range.spec = Some(serde_json::from_value(serde_json::json!({
        "limits": [{"type": "Container", "max": {"memory": "64Mi"}}],
    }))?);
    let ranges: Api<LimitRange> = Api::namespaced(api.clone(), name);
    ranges.create(&PostParams::default(), &range).await?;
    let told = failing(options.clone(), |builder| builder.memory("1Gi")).await?;
    is(
        &told,
        CreationReason::Rejected,
        &["maximum memory usage per Container is 64Mi", "limitrange"],
    );
    ranges.delete("small", &DeleteParams::default()).await?;

    let mut quota = ResourceQuota::default();
    quota.metadata.name = Some("none".into());
    quota.spec = Some(serde_json::from_value(
        serde_json::json!({"hard": {"pods": "0"}}),
    )?);
    let quotas: Api<ResourceQuota> = Api::namespaced(api.clone(), name);
    quotas.create(&PostParams::default(), &quota).await?;
    // Until the controller has counted, the quota holds nobody back.
    while quotas
        .get("none")
        .await?
        .status
        .and_then(|status| status.used)
        .is_none()
    {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let told = failing(options, |builder| builder).await?;
    is(
        &told,
        CreationReason::Quota,
        &[
            "exceeded quota: none",
            "limited: pods=0",
            "delete what is not needed",
        ],
    );
    Ok(())
}

async fn what_admission_does_not_find(_: TestedBackend) -> Outcome {
    for (pod, words) in [
        (
            PodOptions::new().service_account("nobody"),
            ["service account", "name another"],
        ),
        (
            PodOptions::new().runtime_class("of-glass"),
            ["\"of-glass\" not found", "get runtimeclasses"],
        ),
        (
            PodOptions::new().priority_class("royal"),
            ["royal", "get priorityclasses"],
        ),
        (
            PodOptions::new().request("cpu", "2").patch(cpu_limit("1")),
            ["requests", "less than or equal"],
        ),
    ] {
        is(
            &with(options(), pod).await?,
            CreationReason::Rejected,
            &words,
        );
    }
    Ok(())
}

fn cpu_limit(amount: &str) -> serde_json::Value {
    let limits = serde_json::json!({"limits": {"cpu": amount}});
    serde_json::json!({"spec": {"containers": [{"name": "sandbox", "resources": limits}]}})
}

async fn volumes_of_nothing(_: TestedBackend) -> Outcome {
    let volume = |source| PodOptions::new().volume(VolumeAt::new("v", "/v", source));
    let (claim, map, secret) = tokio::join!(
        with(
            impatient(),
            volume(VolumeSource::PersistentVolumeClaim("none".into()))
        ),
        with(impatient(), volume(VolumeSource::ConfigMap("none".into()))),
        with(impatient(), volume(VolumeSource::Secret("none".into()))),
    );
    is(
        &claim?,
        CreationReason::Unschedulable,
        &[
            "persistentvolumeclaim \"none\" not found",
            "make that claim",
        ],
    );
    is(
        &map?,
        CreationReason::Other,
        &["configmap \"none\" not found", "make it"],
    );
    is(
        &secret?,
        CreationReason::Other,
        &["secret \"none\" not found", "make it"],
    );
    Ok(())
}

async fn a_server_that_is_not_there(_: TestedBackend) -> Outcome {
    let mut baked = options();
    baked.injection = Injection::baked();
    let told = failing(baked, |builder| builder).await?;
    is(
        &told,
        CreationReason::Crashed,
        &["/usr/local/bin/sandbox-sshd", "SSH server is not there"],
    );

    let mut wrong = options();
    wrong.server_image = Some(image());
    let told = failing(wrong, |builder| builder).await?;
    is(
        &told,
        CreationReason::Crashed,
        &["the SSH server could not be brought in", "/sandbox-sshd"],
    );

    let mut other = options();
    other.injection = Injection::Baked {
        path: "/bin/false".into(),
    };
    let told = failing(other, |builder| builder).await?;
    assert_eq!(told.reason, CreationReason::Crashed, "{told}");
    assert!(told.message.contains("exit code 1"), "{told}");
    Ok(())
}

async fn an_image_of_root(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.run_as = None;
    // The server's image names a user; the sandbox's does not.
    let told = failing(options, |builder| builder).await?;
    is(
        &told,
        CreationReason::Rejected,
        &["runAsNonRoot", "profile Baseline"],
    );
    Ok(())
}

async fn nothing_listens(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.startup_grace = Duration::from_secs(8);
    let told = in_place_of_the_server("silent", SILENT.to_vec(), options, None).await?;
    assert_eq!(
        (told.stage, told.reason),
        (CreationStage::Connect, CreationReason::Unreachable),
        "{told}"
    );
    for word in [
        "nothing answered on port 2222",
        "within 8s of its start",
        "SANDBOX_STARTUP_GRACE",
    ] {
        assert!(told.message.contains(word), "{told}");
    }
    Ok(())
}

/// It says nothing, and does not listen.
const SILENT: &[u8] = b"#!/bin/sh\nexec sleep 600\n";

/// Whatever the server does, the cluster keeps the hard end.
async fn a_hard_end_that_the_server_does_not_keep(_: TestedBackend) -> Outcome {
    let told = in_place_of_the_server(
        "deaf",
        SILENT.to_vec(),
        options(),
        Some(Duration::from_secs(3)),
    )
    .await?;
    assert_eq!(told.reason, CreationReason::Timeout, "{told}");
    assert!(
        told.message.contains("max_lifetime, kept by Kubernetes"),
        "{told}"
    );
    Ok(())
}

/// The beginning of a program for an IBM mainframe, which no node of a test is.
const FOREIGN: [u8; 64] = {
    let mut header = [0; 64];
    let known = *b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16\0\0\0\x01";
    let mut at = 0;
    while at < known.len() {
        header[at] = known[at];
        at += 1;
    }
    header
};

async fn a_program_for_another_processor(_: TestedBackend) -> Outcome {
    let told = in_place_of_the_server("foreign", FOREIGN.to_vec(), options(), None).await?;
    assert_eq!(told.reason, CreationReason::Crashed, "{told}");
    for word in ["exec format error", "another processor architecture"] {
        assert!(told.message.contains(word), "{told}");
    }
    Ok(())
}

/// What is told of a sandbox in which this program runs where the server should.
async fn in_place_of_the_server(
    name: &str,
    program: Vec<u8>,
    mut options: KubernetesOptions,
    max_lifetime: Option<Duration>,
) -> Outcome<CreationError> {
    let maps: Api<ConfigMap> = Api::namespaced(api().await?, namespace());
    let program = BTreeMap::from([("sandbox-sshd".to_owned(), ByteString(program))]);
    let mut map = ConfigMap {
        binary_data: Some(program),
        ..ConfigMap::default()
    };
    map.metadata.name = Some(name.to_owned());
    maps.create(&PostParams::default(), &map).await?;
    // A volume over the server itself would be refused.
    options.injection = Injection::Baked {
        path: format!("/bin/../{name}/sandbox-sshd"),
    };
    let volume = VolumeAt::new(
        name,
        format!("/{name}"),
        VolumeSource::ConfigMap(name.to_owned()),
    );
    let mode = serde_json::json!({"spec": {"volumes": [{"name": name, "configMap": {"defaultMode": 0o555}}]}});
    let pod = PodOptions::new().volume(volume).patch(mode).to_value()?;
    let told = failing(options, |builder| {
        let builder = builder.backend_options("k8s", pod);
        match max_lifetime {
            Some(life) => builder.max_lifetime(life),
            None => builder,
        }
    });
    let told = told.await;
    maps.delete(name, &DeleteParams::default()).await?;
    told
}

async fn a_disk_that_is_too_small(_: TestedBackend) -> Outcome {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    let sbx = client_for(admin_backend(options()).await?, defaults)
        .sandbox()
        .disk("40Mi")
        .create()
        .await?;
    let fill = "dd if=/dev/zero of=large bs=1M count=100 2>/dev/null; sleep 300";
    let lost = sbx.shell(fill).output().await;
    sbx.delete().await?;
    let error = lost.expect_err("the Pod was evicted");
    assert!(
        matches!(
            &error,
            Error::Command {
                cause: CommandCause::Lost,
                ..
            }
        ),
        "{error:?}"
    );
    let why = std::error::Error::source(&error)
        .expect("an explanation")
        .to_string();
    println!("{error}: {why}");
    assert!(why.contains("evicted") && why.contains("40Mi"), "{why}");
    Ok(())
}

async fn too_little_memory(_: TestedBackend) -> Outcome {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    let sbx = client_for(admin_backend(options()).await?, defaults)
        .sandbox()
        .memory("32Mi")
        .create()
        .await?;
    let ended = sbx.shell("tail /dev/zero").output().await;
    sbx.delete().await?;
    match ended {
        // The kernel chose the greatest process of the container, and no more.
        Ok(output) => assert!(!output.status.success(), "{output:?}"),
        // Newer kubelets have the whole container end.
        Err(error) => {
            let why = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            assert!(
                why.contains("more memory than its limit of 32Mi"),
                "{error}: {why}"
            );
        }
    }
    Ok(())
}

/// What lies in memory belongs to no process: whichever the kernel ends, the last is the server. What fills
/// it is smaller than the server, and so is not the first: with that out of the way and next to nothing free,
/// the kernel may go on for minutes taking the server's program from memory and reading it again.
async fn memory_that_no_process_can_give_back(_: TestedBackend) -> Outcome {
    let mut defaults = Defaults::default();
    defaults.image = Some(image());
    let volume = VolumeAt::new("m", "/m", VolumeSource::Memory(Some("256Mi".into())));
    let client = client_for(admin_backend(options()).await?, defaults);
    let pod = PodOptions::new().volume(volume).to_value()?;
    let sbx = client
        .sandbox()
        .memory("32Mi")
        .backend_options("k8s", pod)
        .create()
        .await?;
    let filled = sbx
        .command("dd")
        .args(["if=/dev/zero", "of=/m/x", "bs=4k", "count=51200"])
        .output()
        .await;
    // The command itself may be the first to go, and its server the next, which a kubelet tells a
    // moment later. Nothing that is asked meanwhile may seem to work when it does not.
    let mut told = format!("{filled:?}");
    for _ in 0..6 {
        if told.contains("more memory than its limit of 32Mi") {
            break;
        }
        if let Err(error) = sbx.command("true").output().await {
            let why = std::error::Error::source(&error)
                .map(ToString::to_string)
                .unwrap_or_default();
            told = format!("{error}: {why}");
        }
    }
    sbx.delete().await?;
    println!("{filled:?}\n{told}");
    assert!(!filled.is_ok_and(|output| output.status.success()));
    assert!(
        told.contains("more memory than its limit of 32Mi"),
        "{told}"
    );
    Ok(())
}
