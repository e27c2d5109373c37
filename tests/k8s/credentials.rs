//! What is told of credentials that are not accepted, that cannot be had, or that are not enough.

use std::time::Duration;

use sandbox::{CreationReason, Error, ListFilter};
use sandbox_conformance::{Outcome, TestedBackend, cases};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::Transport;
use serde_json::{Value, json};

use crate::cluster::{api, client_for, connect, defaults, namespace, options};
use crate::deploy_manifests;

cases![
    a_token_that_is_not_accepted,
    a_program_that_gives_none,
    an_account_without_rights,
    an_account_that_may_not_reach_pods,
    a_server_that_is_not_there,
];

/// A client with this in place of the user, or of the cluster, of the kubeconfig.
async fn client(user: Option<Value>, cluster: Option<Value>) -> Outcome<sandbox::Client> {
    let file = deploy_manifests::edited_kubeconfig(|config| {
        for (list, kind, changed) in [("users", "user", &user), ("clusters", "cluster", &cluster)] {
            for entry in config[list].as_array_mut().into_iter().flatten() {
                if let Some(changed) = changed {
                    entry[kind] = changed.clone();
                }
            }
        }
    })?;
    of(KubernetesBackend::new(
        connect(Some(&file), None).await?,
        options(),
    ))
}

fn of(backend: KubernetesBackend) -> Outcome<sandbox::Client> {
    let mut defaults = defaults();
    defaults.create_timeout = Duration::from_secs(60);
    Ok(client_for(backend, defaults))
}

/// What is told of a creation, and of a look at what there is.
async fn told(client: &sandbox::Client) -> Outcome<[Error; 2]> {
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

async fn a_token_that_is_not_accepted(_: TestedBackend) -> Outcome {
    let [created, listed] =
        told(&client(Some(json!({"token": "of-yesterday"})), None).await?).await?;
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
            !error.is_retryable() && !text.contains("of-yesterday"),
            "{error:?}"
        );
    }
    Ok(())
}

async fn a_program_that_gives_none(_: TestedBackend) -> Outcome {
    for (script, said) in [
        ("echo secret-words; exit 3", "exit status: 3"),
        ("echo secret-words", "wrote something else"),
        ("exec no-such-login", "exit status: 127"),
    ] {
        let exec = json!({"apiVersion": "client.authentication.k8s.io/v1", "interactiveMode": "Never",
                          "command": "sh", "args": ["-c", script]});
        let user = json!({"exec": exec});
        let text = client(Some(user), None)
            .await
            .err()
            .ok_or("a client was made")?
            .to_string();
        println!("{text}");
        assert!(
            text.contains("credentials") && text.contains(said),
            "{text}"
        );
        // It may be a token.
        assert!(!text.contains("secret-words"), "{text}");
    }
    Ok(())
}

async fn an_account_without_rights(_: TestedBackend) -> Outcome {
    let kubeconfig =
        deploy_manifests::account_kubeconfig(&api().await?, namespace(), "default").await?;
    let client = of(KubernetesBackend::new(
        connect(Some(&kubeconfig), None).await?,
        options(),
    ))?;
    let [created, listed] = told(&client).await?;
    for (error, right) in [(&created, "create secrets"), (&listed, "list pods")] {
        let text = error.to_string();
        assert!(
            text.contains(&format!(
                "no right to {right} in the namespace {}",
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

/// The rights of an account that lacks one of those that it needs.
const NEAR: &str = "
apiVersion: v1
kind: ServiceAccount
metadata: {name: near, namespace: NAMESPACE}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: near, namespace: NAMESPACE}
rules:
  - {apiGroups: [''], resources: [pods], verbs: [create, get, list, watch, patch, delete]}
  - {apiGroups: [''], resources: [secrets], verbs: [create, get, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: near, namespace: NAMESPACE}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: near}
subjects: [{kind: ServiceAccount, name: near}]
";

async fn an_account_that_may_not_reach_pods(_: TestedBackend) -> Outcome {
    deploy_manifests::apply(&NEAR.replace("NAMESPACE", namespace()))?;
    let mut options = options();
    options.transport = Transport::PortForward;
    let kubeconfig =
        deploy_manifests::account_kubeconfig(&api().await?, namespace(), "near").await?;
    let client = of(KubernetesBackend::new(
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
            .contains("no right to get and create pods/portforward"),
        "{error}"
    );
    Ok(())
}

async fn a_server_that_is_not_there(_: TestedBackend) -> Outcome {
    for error in told(&client(None, Some(json!({"server": "https://127.0.0.1:1"}))).await?).await? {
        assert!(
            error.to_string().contains("API server does not answer") && error.is_retryable(),
            "{error}"
        );
    }
    Ok(())
}
