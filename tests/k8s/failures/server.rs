//! Sandboxes whose SSH server does not start, does not listen, or does not end.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use sandbox::{CreationError, CreationReason, CreationStage};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::options::{Injection, KubernetesOptions, PodOptions, PodVolume, VolumeSource};

use crate::cluster::{api, image, namespace, options};
use crate::support::{assert_message, assert_reason, creation_error};

cases![
    a_server_that_is_missing_or_fails,
    a_server_that_does_not_listen,
    a_server_that_ignores_max_lifetime,
    a_server_for_another_processor,
];

async fn a_server_that_is_missing_or_fails(_: TestedBackend) -> Outcome {
    let mut baked = options();
    baked.injection = Injection::baked();
    let error = creation_error(baked, |builder| builder).await?;
    assert_reason(
        &error,
        CreationReason::Crashed,
        &[
            "/usr/local/bin/sandbox-sshd",
            "the SSH server does not exist or cannot be run",
        ],
    );

    let mut wrong = options();
    wrong.server_image = Some(image());
    let error = creation_error(wrong, |builder| builder).await?;
    assert_reason(
        &error,
        CreationReason::Crashed,
        &["the SSH server could not be installed", "/sandbox-sshd"],
    );

    let mut other = options();
    other.injection = Injection::Baked {
        path: "/bin/false".into(),
    };
    let error = creation_error(other, |builder| builder).await?;
    assert_eq!(error.reason, CreationReason::Crashed, "{error}");
    assert!(error.message.contains("exit code 1"), "{error}");
    Ok(())
}

async fn a_server_that_does_not_listen(_: TestedBackend) -> Outcome {
    let mut options = options();
    options.startup_grace = Duration::from_secs(8);
    let error = creation_error_with_server("silent", SILENT.to_vec(), options, None).await?;
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Connect, CreationReason::Unreachable),
        "{error}"
    );
    assert_message(
        &error,
        &[
            "nothing responded on port 2222",
            "within 8s of the start",
            "SANDBOX_STARTUP_GRACE",
        ],
    );
    Ok(())
}

/// A program that neither prints anything nor listens.
const SILENT: &[u8] = b"#!/bin/sh\nexec sleep 600\n";

/// Kubernetes itself ends the Pod at `max_lifetime`.
async fn a_server_that_ignores_max_lifetime(_: TestedBackend) -> Outcome {
    let error = creation_error_with_server(
        "endless",
        SILENT.to_vec(),
        options(),
        Some(Duration::from_secs(3)),
    )
    .await?;
    assert_eq!(error.reason, CreationReason::Timeout, "{error}");
    assert!(
        error
            .message
            .contains("max_lifetime (activeDeadlineSeconds)"),
        "{error}"
    );
    Ok(())
}

/// The ELF header of a program for an IBM mainframe, which no node of a test cluster is.
const FOREIGN: [u8; 64] = {
    let mut header = [0; 64];
    let start = *b"\x7fELF\x02\x02\x01\0\0\0\0\0\0\0\0\0\0\x02\0\x16\0\0\0\x01";
    let mut at = 0;
    while at < start.len() {
        header[at] = start[at];
        at += 1;
    }
    header
};

async fn a_server_for_another_processor(_: TestedBackend) -> Outcome {
    let error = creation_error_with_server("foreign", FOREIGN.to_vec(), options(), None).await?;
    assert_eq!(error.reason, CreationReason::Crashed, "{error}");
    assert_message(
        &error,
        &["exec format error", "another processor architecture"],
    );
    Ok(())
}

/// Runs this program instead of the server, from a volume `name`, and returns the error of the
/// creation.
async fn creation_error_with_server(
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
    // The backend refuses a volume that covers the server, so the path differs from the mount path.
    options.injection = Injection::Baked {
        path: format!("/bin/../{name}/sandbox-sshd"),
    };
    let volume = PodVolume::new(
        name,
        format!("/{name}"),
        VolumeSource::ConfigMap(name.to_owned()),
    );
    let mode = serde_json::json!({"spec": {"volumes": [{"name": name, "configMap": {"defaultMode": 0o555}}]}});
    let pod = PodOptions::new().volume(volume).patch(mode).to_value()?;
    let error = creation_error(options, |builder| {
        let builder = builder.backend_options("k8s", pod);
        match max_lifetime {
            Some(life) => builder.max_lifetime(life),
            None => builder,
        }
    });
    let error = error.await;
    maps.delete(name, &DeleteParams::default()).await?;
    error
}
