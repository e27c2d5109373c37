//! From settings to sandboxes as Pods.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use sandbox_config::{
    ImagePullPolicy, InjectionKind, KubernetesSettings, SecurityProfileKind, Settings, SshSettings,
    TransportKind,
};
use sandbox_core::{Connector, Result};
use sandbox_k8s::options::{
    AuthorizedKey, ImageServer, InjectVia, Injection, KubernetesOptions, PullPolicy,
    SecurityProfile, Transport,
};

use super::ssh::ssh_options;
use crate::defaults::Defaults;
use crate::parts::Parts;

pub(super) async fn open(settings: &Settings) -> Result<Parts> {
    let mut wanted = sandbox_k8s::ClusterOptions::default();
    wanted
        .kubeconfig
        .clone_from(&settings.kubernetes.kubeconfig);
    wanted.context.clone_from(&settings.kubernetes.context);
    let cluster = sandbox_k8s::open_cluster(&wanted).await?;
    let (cluster_name, context) = (cluster.to_string(), cluster.context.clone());
    let backend = sandbox_k8s::KubernetesBackend::new(cluster.client, options(settings))
        .learning_host_keys_with(Arc::new(sandbox_ssh::SshHostKeys::new()));
    let connector: Arc<dyn Connector> = Arc::new(backend.connector());
    let sessions = sandbox_ssh::SshSessions::new(Arc::clone(&connector), ssh_options(settings));
    let location = format!("namespace {} of {cluster_name}", backend.namespace());
    let environment = environment(settings, backend.namespace(), context);
    Ok(Parts {
        backend: Arc::new(backend),
        sessions: Arc::new(sessions),
        connector: Some(connector),
        defaults: Defaults::from_settings(settings),
        location: Some(location),
        environment,
    })
}

/// Which cluster and namespace it is, by what was chosen and not by what is current.
fn environment(
    settings: &Settings,
    namespace: &str,
    context: Option<String>,
) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("SANDBOX_BACKEND", settings.backend.as_str().into()),
        ("SANDBOX_NAMESPACE", namespace.into()),
        (
            "SANDBOX_TRANSPORT",
            settings.kubernetes.transport.as_str().into(),
        ),
    ];
    environment.extend(context.map(|context| ("SANDBOX_KUBE_CONTEXT", context.into())));
    match &settings.kubernetes.kubeconfig {
        Some(path) => environment.push(("SANDBOX_KUBECONFIG", from_root(path.clone()).into())),
        None => environment.extend(std::env::var_os("KUBECONFIG").map(|paths| {
            let each = std::env::split_paths(&paths).map(from_root);
            // Only a name with the separator in it cannot be joined, and none came out of the split.
            (
                "KUBECONFIG",
                std::env::join_paths(each).unwrap_or_else(|_| paths.clone()),
            )
        })),
    }
    environment
}

/// The same file, whatever directory the other process is started in.
fn from_root(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn options(settings: &Settings) -> KubernetesOptions {
    let from = &settings.kubernetes;
    let mut options = KubernetesOptions::default();
    options.namespace.clone_from(&from.namespace);
    options.server_image.clone_from(&from.server_image);
    options.image_pull_secrets = from.image_pull_secret.iter().cloned().collect();
    options.image_pull_policy = from.image_pull_policy.map(|policy| match policy {
        ImagePullPolicy::Always => PullPolicy::Always,
        ImagePullPolicy::Never => PullPolicy::Never,
        _ => PullPolicy::IfNotPresent,
    });
    options.injection = injection(from, &settings.ssh);
    options.security = match from.security_profile {
        SecurityProfileKind::Baseline => SecurityProfile::Baseline,
        // Not known here, so never less than the strictest.
        _ => SecurityProfile::Restricted,
    };
    options.run_as = from.run_as;
    options.transport = match from.transport {
        TransportKind::Direct => Transport::Direct,
        TransportKind::PortForward => Transport::PortForward,
        _ => Transport::Auto,
    };
    options.startup_grace = from.startup_grace;
    options.owner_lease = from.owner_lease;
    options
}

fn injection(from: &KubernetesSettings, ssh: &SshSettings) -> Injection {
    match from.injection {
        InjectionKind::ImageVolume => Injection::Inject(InjectVia::ImageVolume),
        InjectionKind::InitContainer => Injection::Inject(InjectVia::InitContainer),
        InjectionKind::Baked => Injection::Baked {
            path: from.baked_path.clone(),
        },
        InjectionKind::Image => Injection::Image(image_server(ssh)),
        _ => Injection::Inject(InjectVia::Auto),
    }
}

fn image_server(ssh: &SshSettings) -> ImageServer {
    let mut server = ImageServer::default();
    if let Some(user) = &ssh.user {
        server.user.clone_from(user);
    }
    server.port = ssh.port;
    server.authorized_key = match (&ssh.authorized_keys_variable, &ssh.authorized_keys_file) {
        (Some(name), _) => AuthorizedKey::Env(name.clone()),
        (None, Some(path)) => AuthorizedKey::File(path.clone()),
        (None, None) => AuthorizedKey::of_user(&server.user),
    };
    server
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_set_is_what_the_backend_does_by_itself() {
        assert_eq!(options(&Settings::default()), KubernetesOptions::default());
    }

    #[test]
    fn each_way_of_bringing_ssh_can_be_chosen() {
        let mut settings = Settings::default();
        for (kind, expected) in [
            (InjectionKind::Auto, Injection::Inject(InjectVia::Auto)),
            (
                InjectionKind::ImageVolume,
                Injection::Inject(InjectVia::ImageVolume),
            ),
            (
                InjectionKind::InitContainer,
                Injection::Inject(InjectVia::InitContainer),
            ),
            (InjectionKind::Baked, Injection::baked()),
            (
                InjectionKind::Image,
                Injection::Image(ImageServer::default()),
            ),
        ] {
            settings.kubernetes.injection = kind;
            assert_eq!(options(&settings).injection, expected, "{kind}");
        }
    }

    #[test]
    fn an_images_own_server_is_described_by_the_settings_of_ssh() {
        let mut ssh = SshSettings::default();
        assert_eq!(image_server(&ssh), ImageServer::default());
        ssh.user = Some("app".into());
        ssh.port = 2222;
        let server = image_server(&ssh);
        assert_eq!((server.user.as_str(), server.port), ("app", 2222));
        assert_eq!(
            server.authorized_key,
            AuthorizedKey::File("/home/app/.ssh/authorized_keys".into())
        );
        ssh.authorized_keys_file = Some("/keys".into());
        assert_eq!(
            image_server(&ssh).authorized_key,
            AuthorizedKey::File("/keys".into())
        );
        ssh.authorized_keys_variable = Some("PUBLIC_KEY".into());
        assert_eq!(
            image_server(&ssh).authorized_key,
            AuthorizedKey::Env("PUBLIC_KEY".into())
        );
    }

    #[test]
    fn a_lease_is_held_where_one_is_asked_for() {
        let mut settings = Settings::default();
        settings.kubernetes.owner_lease = Some(std::time::Duration::from_secs(60));
        assert_eq!(
            options(&settings).owner_lease,
            settings.kubernetes.owner_lease
        );
    }

    #[test]
    fn root_is_asked_for_by_name() {
        let mut settings = Settings::default();
        settings.kubernetes.security_profile = SecurityProfileKind::Baseline;
        settings.kubernetes.run_as = None;
        let options = options(&settings);
        assert_eq!(
            (options.security, options.run_as),
            (SecurityProfile::Baseline, None)
        );
    }
}
