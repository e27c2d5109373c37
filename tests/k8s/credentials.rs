//! The errors for credentials that are rejected, cannot be obtained, or lack permissions.

use std::time::Duration;

use sandbox::{CreationReason, Error, ListFilter};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Transport;
use serde_json::{Value, json};

use crate::cluster::{api, client_for, connect, defaults, namespace, options};
use crate::deploy_manifests;

cases![
    a_rejected_token_is_reported,
    a_credential_plugin_that_fails_is_reported,
    missing_permissions_are_named,
    the_missing_permission_for_port_forwards_is_named,
    an_unreachable_api_server_is_reported,
];

/// A client with a kubeconfig whose user, or whose cluster, is replaced.
async fn edited_client(user: Option<Value>, cluster: Option<Value>) -> Outcome<sandbox::Client> {
    let file = deploy_manifests::edited_kubeconfig(|config| {
        for (list, kind, changed) in [("users", "user", &user), ("clusters", "cluster", &cluster)] {
            for entry in config[list].as_array_mut().into_iter().flatten() {
                if let Some(changed) = changed {
                    entry[kind] = changed.clone();
                }
            }
        }
    })?;
    client_on(KubernetesBackend::new(
        connect(Some(&file), None).await?,
        options(),
    ))
}

fn client_on(backend: KubernetesBackend) -> Outcome<sandbox::Client> {
    let mut defaults = defaults();
    defaults.create_timeout = Duration::from_secs(180);
    Ok(client_for(backend, defaults))
}

/// The errors of a creation and of a list.
async fn errors(client: &sandbox::Client) -> Outcome<[Error; 2]> {
    let created = client
        .sandbox()
        .create()
        .await
        .err()
        .ok_or("it was created")?;
    let listed = client
        .list(ListFilter::default())
        .await
        .err()
        .ok_or("it was listed")?;
    println!("{created}\n{listed}");
    Ok([created, listed])
}

async fn a_rejected_token_is_reported(_: TestedBackend) -> Outcome {
    let [created, listed] =
        errors(&edited_client(Some(json!({"token": "unknown-token"})), None).await?).await?;
    let Error::Creation(creation) = &created else {
        return Err(format!("{created:?}").into());
    };
    assert_eq!(creation.reason, CreationReason::Rejected);
    for error in [&created, &listed] {
        let text = error.to_string();
        assert!(
            text.contains("does not accept the credentials") && text.contains("log in again"),
            "{text}"
        );
        assert!(
            !error.is_retryable() && !text.contains("unknown-token"),
            "{error:?}"
        );
    }
    Ok(())
}

async fn a_credential_plugin_that_fails_is_reported(_: TestedBackend) -> Outcome {
    for (script, detail) in [
        ("echo secret-words; exit 3", "exit status: 3"),
        ("echo secret-words", "wrote no credentials"),
        ("exec no-such-login", "exit status: 127"),
    ] {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
                          "command": "sh", "args": ["-c", script]});
        let user = json!({"exec": exec});
        let text = edited_client(Some(user), None)
            .await
            .err()
            .ok_or("a client was created")?
            .to_string();
        println!("{text}");
        assert!(
            text.contains("credentials") && text.contains(detail),
            "{text}"
        );
        // The output is not repeated, because it may be a token.
        assert!(!text.contains("secret-words"), "{text}");
    }
    Ok(())
}

async fn missing_permissions_are_named(_: TestedBackend) -> Outcome {
    let kubeconfig =
        deploy_manifests::account_kubeconfig(&api().await?, namespace(), "default").await?;
    let client = client_on(KubernetesBackend::new(
        connect(Some(&kubeconfig), None).await?,
        options(),
    ))?;
    let [created, listed] = errors(&client).await?;
    for (error, permission) in [(&created, "create secrets"), (&listed, "list pods")] {
        let text = error.to_string();
        assert!(
            text.contains(&format!(
                "no permission to {permission} in the namespace {}",
                namespace()
            )),
            "{text}"
        );
        assert!(
            text.contains("RoleBinding") && !error.is_retryable(),
            "{text}"
        );
    }
    Ok(())
}

/// An account that has all permissions but that for port-forwards.
const WITHOUT_PORT_FORWARD: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: without-port-forward, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: without-port-forward, namespace: NAMESPACE}
rules:
  - {apiGroups: [''], resources: [pods], verbs: [create, get, list, watch, patch, delete]}
  - {apiGroups: [''], resources: [secrets], verbs: [create, get, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: without-port-forward, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: without-port-forward}
subjects: [{kind: ServiceAccount, name: without-port-forward}]
";

async fn the_missing_permission_for_port_forwards_is_named(_: TestedBackend) -> Outcome {
    deploy_manifests::apply(&WITHOUT_PORT_FORWARD.replace("NAMESPACE", namespace()))?;
    let mut options = options();
    options.transport = Transport::PortForward;
    let kubeconfig =
        deploy_manifests::account_kubeconfig(&api().await?, namespace(), "without-port-forward")
            .await?;
    let client = client_on(KubernetesBackend::new(
        connect(Some(&kubeconfig), None).await?,
        options,
    ))?;
    let error = client
        .sandbox()
        .create()
        .await
        .err()
        .ok_or("it was created")?;
    println!("{error}");
    assert!(
        error
            .to_string()
            .contains("no permission to get and create pods/portforward"),
        "{error}"
    );
    Ok(())
}

async fn an_unreachable_api_server_is_reported(_: TestedBackend) -> Outcome {
    for error in
        errors(&edited_client(None, Some(json!({"server": "https://127.0.0.1:1"}))).await?).await?
    {
        assert!(
            error.to_string().contains("API server does not respond") && error.is_retryable(),
            "{error}"
        );
    }
    Ok(())
}
