//! Sandboxes whose server is uploaded by the client, without an image of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sandbox::{CreationReason, Error};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{InjectVia, Injection, KubernetesOptions, PodOptions, ServerPrograms};
use sandbox_testkit::peers;
use serde_json::json;

use crate::cluster::{admin_backend, client_for, connect, defaults, options};
use crate::deploy_manifests::{self, CLIENT};
use crate::recording_client::RequestLog;
use crate::rights::granted;
use crate::support::{assert_message, creation_error};

cases![
    an_uploaded_server_takes_over,
    many_servers_are_uploaded_at_once,
    an_image_without_a_shell_cannot_receive_a_server,
    the_permission_to_upload_is_granted_separately,
];

/// The variable with the server to upload. By default it is what `cargo xtask image` built.
const SERVER_VARIABLE: &str = "SANDBOX_TEST_SERVER_PATH";

/// Options with which the server is uploaded; `None` skips the case, because there is no server.
fn uploading() -> Outcome<Option<KubernetesOptions>> {
    let built = || {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target");
        directory.join(target).join("release/sandbox-sshd")
    };
    let server = std::env::var_os(SERVER_VARIABLE).map_or_else(built, PathBuf::from);
    if !server.exists() {
        let why = format!("needs {} (`cargo xtask image` builds it)", server.display());
        peers::skip("static", &why);
        return Ok(None);
    }
    let mut options = options();
    options.server_image = None;
    options.server_programs = ServerPrograms::from_path(&server)?;
    options.injection = Injection::Inject(InjectVia::Upload);
    Ok(Some(options))
}

async fn an_uploaded_server_takes_over(_: TestedBackend) -> Outcome {
    let Some(options) = uploading()? else {
        return Ok(());
    };
    let client = client_for(admin_backend(options.clone()).await?, defaults());
    let attached = client.sandbox().create();
    // The root file system cannot be written, and the home is a volume.
    let pod = PodOptions::new().patch(json!({"spec": {
        "volumes": [{"name": "tmp", "emptyDir": {}}],
        "containers": [{
            "name": "sandbox", "securityContext": {"readOnlyRootFilesystem": true},
            "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        }],
    }}));
    let detached = client
        .sandbox()
        .detached()
        .backend_options("k8s", pod.to_value()?)
        .create();
    let (attached, detached) = tokio::try_join!(attached, detached)?;
    // Only the Pod that has a volume anyway gets one for the server.
    for (sandbox, directory) in [(&attached, "/tmp/.sandbox"), (&detached, "/.sandbox")] {
        let show = format!("tr '\\0' ' ' </proc/1/cmdline; id -u; ls -A {directory}");
        let output = sandbox.shell(&show).output().await?.check()?;
        let text = output.stdout_lossy();
        let first = text.lines().next().unwrap_or_default();
        assert!(
            first.starts_with(&format!("{directory}/sandbox-sshd ")),
            "{text}"
        );
        assert!(first.ends_with("1000"), "not root: {text}");
        assert!(!text.contains("partial"), "{text}");
    }
    // Another client needs no upload, and cannot make one.
    let mut other = options;
    other.server_programs = ServerPrograms::default();
    other.injection = Injection::baked();
    let other = client_for(admin_backend(other).await?, defaults());
    let found = other.connect(detached.id()).await?;
    found.command("true").output().await?.check()?;
    tokio::try_join!(attached.delete(), detached.delete())?;
    Ok(())
}

async fn many_servers_are_uploaded_at_once(_: TestedBackend) -> Outcome {
    let Some(options) = uploading()? else {
        return Ok(());
    };
    let client = client_for(admin_backend(options).await?, defaults());
    let creations = (0..8).map(|_| client.sandbox().create());
    let sandboxes = futures_util::future::try_join_all(creations).await?;
    for sandbox in &sandboxes {
        sandbox.command("true").output().await?.check()?;
    }
    let deletions = sandboxes.iter().map(|sandbox| sandbox.delete());
    futures_util::future::try_join_all(deletions).await?;
    Ok(())
}

async fn an_image_without_a_shell_cannot_receive_a_server(_: TestedBackend) -> Outcome {
    let (Some(uploading), Some(empty)) = (uploading()?, options().server_image) else {
        return Ok(());
    };
    let error = creation_error(uploading, |builder| builder.image(&empty)).await?;
    assert_eq!(error.reason, CreationReason::Crashed, "{error}");
    assert_message(&error, &["no shell", "SANDBOX_SERVER_IMAGE", "baked"]);
    Ok(())
}

async fn the_permission_to_upload_is_granted_separately(_: TestedBackend) -> Outcome {
    let Some(mut options) = uploading()? else {
        return Ok(());
    };
    deploy_manifests::with_namespace(true, async |api, namespace| {
        let kubeconfig = deploy_manifests::account_kubeconfig(&api, &namespace, CLIENT).await?;
        let log = RequestLog::default();
        let account = log.record(connect(Some(&kubeconfig), None).await?);
        options.namespace = Some(namespace.clone());
        let client = client_for(KubernetesBackend::new(account, options), defaults());
        match client.sandbox().create().await {
            Err(Error::Creation(error)) => {
                assert_eq!(error.reason, CreationReason::Rejected, "{error}");
                assert_message(&error, &["no permission to", "pods/exec", "baked"]);
            }
            Err(other) => return Err(other.into()),
            Ok(_) => return Err("it was created without the permission".into()),
        }
        deploy_manifests::apply_upload(&namespace)?;
        let sandbox = client.sandbox().create().await?;
        sandbox.command("true").output().await?.check()?;
        sandbox.delete().await?;
        let used = log.rights();
        let mut used: BTreeSet<_> = used
            .into_iter()
            .filter(|(resource, _)| resource == "pods/exec")
            .collect();
        // From 1.35 on, the API server requires this verb for the GET of a WebSocket.
        used.insert(("pods/exec".into(), "create".into()));
        assert_eq!(used, granted(&api, &namespace, "sandbox-upload").await?);
        Ok(())
    })
    .await
}
