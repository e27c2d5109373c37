//! Builds the container that runs the sandbox.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::{
    Container, ContainerPort, EnvVar, EnvVarSource, ResourceRequirements, SecretKeySelector,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use sandbox_core::protocol::POOL_VARIABLE;
use sandbox_core::{Error, Lifetime, OnExpiry, Resources, Result};

use super::non_empty::{non_empty, non_empty_map};
use super::request::PodParams;
use super::server::{Origin, Server, UPLOAD_DIRECTORIES};
use crate::manifest::labels::{PoolRef, SecretName, whole_seconds};
use crate::manifest::options::{AuthorizedKey, PodOptions, PullPolicy};
use crate::manifest::secret;
use crate::names::{CONTAINER, PORT, PORT_NAME};

/// The variables from which sandbox-sshd reads its keys. It re-executes itself to remove them from its
/// environment.
const KEY_VARIABLES: [(&str, &str); 2] = [
    ("SANDBOX_SSHD_HOST_KEY", secret::HOST_KEY),
    ("SANDBOX_SSHD_AUTHORIZED_KEYS", secret::AUTHORIZED_KEYS),
];

pub(super) fn build(request: &PodParams<'_>, server: &Server<'_>) -> Result<Container> {
    let spec = request.spec;
    let keys = &request.secret_ref().name;
    let Some(image) = spec.image.clone() else {
        return Err(Error::Config {
            message: "no image is set for the sandbox: name one (`--image` at the \
                      terminal, `image` of the builder), or set SANDBOX_IMAGE"
                .into(),
        });
    };
    let (command, args, env) = match server {
        Server::SandboxSshd { path, origin } => {
            let first_login = spec.lifetime.first_login_timeout.map(first_login_variable);
            let pool = request.pool.map(pool_variable);
            let env = KEY_VARIABLES
                .map(|(name, key)| secret_variable(name, keys, key))
                .into_iter()
                .chain(first_login)
                .chain(pool)
                .collect();
            let command = match origin {
                Origin::Upload(_) => wait_command(request.nonce, &spec.lifetime),
                Origin::Baked | Origin::ImageVolume(_) | Origin::InitContainer(_) => {
                    vec![(*path).to_owned()]
                }
            };
            (
                Some(command.iter().map(|part| escape_references(part)).collect()),
                Some(arguments(&spec.lifetime)),
                non_empty(env),
            )
        }
        Server::ImageSshd(own) => match &own.authorized_key {
            AuthorizedKey::Env(name) => (
                None,
                None,
                Some(vec![secret_variable(name, keys, secret::AUTHORIZED_KEYS)]),
            ),
            AuthorizedKey::File(_) => (None, None, None),
        },
    };
    let port = server.port();
    Ok(Container {
        name: CONTAINER.into(),
        image: Some(image),
        image_pull_policy: pull_policy(request.pod),
        command,
        args,
        env,
        ports: Some(vec![ContainerPort {
            name: Some(PORT_NAME.into()),
            container_port: i32::from(port),
            protocol: Some("TCP".into()),
            ..ContainerPort::default()
        }]),
        resources: resources(&spec.resources, request.pod)?,
        // So the last output of the server is in the Pod's status, and needs no further request.
        termination_message_policy: Some("FallbackToLogsOnError".into()),
        ..Container::default()
    })
}

/// Returns text that arrives in the container as given: Kubernetes replaces `$(NAME)` in commands and arguments, and
/// reads `$$` as one `$`.
/// <https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/>
fn escape_references(text: &str) -> String {
    text.replace('$', "$$")
}

/// What the container runs until the server has been uploaded.
pub(crate) const WAIT_SCRIPT: &str = include_str!("upload/wait.sh");

/// Returns the command that waits for an upload. The arguments of the server follow it.
fn wait_command(nonce: &str, lifetime: &Lifetime) -> Vec<String> {
    let limit = lifetime
        .first_login_timeout
        .or(lifetime.attach_timeout)
        .unwrap_or(lifetime.max_lifetime);
    let limit = whole_seconds(limit).to_string();
    let arguments = [UPLOAD_DIRECTORIES, nonce, &limit];
    let command = ["sh", "-c", WAIT_SCRIPT, "sandbox"];
    command
        .into_iter()
        .chain(arguments)
        .map(str::to_owned)
        .collect()
}

/// Returns the command line of sandbox-sshd, which ends the sandbox itself; Kubernetes enforces the hard end, too.
fn arguments(lifetime: &Lifetime) -> Vec<String> {
    let limits: [(&str, Option<Duration>); 4] = [
        ("--attached", lifetime.attach_timeout),
        ("--idle", lifetime.idle_timeout),
        ("--ttl", lifetime.ttl),
        ("--max-lifetime", Some(lifetime.max_lifetime)),
    ];
    let mut arguments = vec!["--listen".to_owned(), format!("[::]:{PORT}")];
    for (name, limit) in limits {
        if let Some(limit) = limit {
            arguments.extend([name.to_owned(), whole_seconds(limit).to_string()]);
        }
    }
    match lifetime.on_expiry {
        OnExpiry::End => {}
        // A server that cannot do this refuses the argument.
        OnExpiry::Pause => arguments.extend(["--on-expiry", "pause"].map(str::to_owned)),
    }
    arguments
}

/// Returns the limits. Requests equal them, so that a sandbox gets what it requested and is evicted last.
/// The init container that installs sandbox-sshd has the same, which costs nothing: a Pod needs the
/// larger of the two, and a quota may require limits of each container.
fn limits(requested: &Resources) -> Result<BTreeMap<String, Quantity>> {
    if let Some(pids) = requested.pids {
        return Err(Error::unsupported_because(
            format!("a limit of {pids} processes"),
            "Kubernetes",
            "a Pod has no such limit",
            "remove it, or set the kubelet's limit for all Pods (podPidsLimit)",
        ));
    }
    let amounts = [
        ("cpu", requested.cpu.map(|cpu| cpu.to_string())),
        ("memory", requested.memory.map(|memory| memory.to_string())),
        (
            "ephemeral-storage",
            requested.disk.map(|disk| disk.to_string()),
        ),
    ];
    Ok(amounts
        .into_iter()
        .filter_map(|(name, amount)| Some((name.to_owned(), Quantity(amount?))))
        .collect())
}

fn requirements(limits: BTreeMap<String, Quantity>) -> Option<ResourceRequirements> {
    non_empty_map(limits).map(|limits| ResourceRequirements {
        requests: Some(limits.clone()),
        limits: Some(limits),
        ..ResourceRequirements::default()
    })
}

pub(super) fn pull_policy(options: &PodOptions) -> Option<String> {
    options
        .image_pull_policy
        .map(PullPolicy::as_str)
        .map(str::to_owned)
}

fn resources(requested: &Resources, own: &PodOptions) -> Result<Option<ResourceRequirements>> {
    let mut limits = limits(requested)?;
    for (name, amount) in &own.extended_resources {
        if !name.contains('/') {
            return Err(Error::invalid(
                "extended resource",
                name,
                "its name has a domain, such as nvidia.com/gpu; cpu, memory and disk are limits of the sandbox",
            ));
        }
        limits.insert(name.clone(), Quantity(amount.clone()));
    }
    let mut all = requirements(limits).unwrap_or_default();
    for (name, amount) in &own.requests {
        if !["cpu", "memory", "ephemeral-storage"].contains(&name.as_str()) {
            return Err(Error::invalid(
                "request",
                name,
                "less than the limit can be requested of cpu, memory and ephemeral-storage; of an extended \
                 resource, all is",
            ));
        }
        all.requests
            .get_or_insert_default()
            .insert(name.clone(), Quantity(amount.clone()));
    }
    Ok((all != ResourceRequirements::default()).then_some(all))
}

/// Returns the variable that limits the wait for the first login. Unlike an option, a server of an earlier version
/// ignores it.
fn first_login_variable(timeout: Duration) -> EnvVar {
    EnvVar {
        name: "SANDBOX_SSHD_FIRST_LOGIN".into(),
        value: Some(whole_seconds(timeout).to_string()),
        value_from: None,
    }
}

/// Returns the variable that makes the server claimable. It is also the one place that says to which pool the Pod
/// belongs and that nobody can change.
fn pool_variable(pool: &PoolRef) -> EnvVar {
    EnvVar {
        name: POOL_VARIABLE.into(),
        value: Some(pool.text()),
        value_from: None,
    }
}

fn secret_variable(name: &str, keys: &SecretName, key: &str) -> EnvVar {
    let selector = SecretKeySelector {
        name: keys.as_str().to_owned(),
        key: key.into(),
        optional: None,
    };
    EnvVar {
        name: name.into(),
        value: None,
        value_from: Some(EnvVarSource {
            secret_key_ref: Some(selector),
            ..EnvVarSource::default()
        }),
    }
}
