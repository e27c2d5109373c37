//! From settings to sandboxes as Pods.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use sandbox_config::{Settings, SshSettings};
use sandbox_core::{Connector, Leftovers, Result};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{
    AuthorizedKey, ImageServer, InjectVia, Injection, KubernetesOptions, ServerPrograms, Transport,
};

use super::Extras;
use super::parse::parse_setting;
use super::server_programs;
use super::ssh::ssh_options;
use crate::defaults::Defaults;
use crate::parts::Parts;

/// Opens the cluster, and creates the parts of a client for it. The server that is uploaded is the one of the settings,
/// else a given one, else one that is found.
pub(super) async fn open(settings: &Settings, extras: Extras) -> Result<Parts> {
    let mut options = options(settings)?;
    if uploads_server(&options) {
        options.server_programs = match &settings.kubernetes.server_path {
            Some(path) => ServerPrograms::from_path(path)?,
            None => server_programs::find(extras.server_programs),
        };
    }
    let transport = options.transport;
    let mut cluster_options = sandbox_k8s::ClusterOptions::default();
    cluster_options
        .kubeconfig
        .clone_from(&settings.kubernetes.kubeconfig);
    cluster_options
        .context
        .clone_from(&settings.kubernetes.context);
    let cluster = sandbox_k8s::open_cluster(&cluster_options).await?;
    let source = Source {
        settings: settings.clone(),
        cluster: cluster.to_string(),
        context: cluster.context.clone(),
        transport,
    };
    let backend = KubernetesBackend::new(cluster.client, options)
        .with_api_server(&cluster.server)
        .with_host_key_probe(Arc::new(sandbox_ssh::SshHostKeyProbe::new()));
    source.parts(backend)
}

/// What the clients of all namespaces of a cluster have in common.
#[derive(Clone)]
struct Source {
    settings: Settings,
    /// The cluster, as text for people.
    cluster: String,
    context: Option<String>,
    transport: Transport,
}

impl Source {
    /// Creates the parts of a client for the namespace of the backend.
    ///
    /// # Errors
    ///
    /// As [`Defaults::from_settings`].
    fn parts(&self, backend: KubernetesBackend) -> Result<Parts> {
        let Self {
            settings,
            cluster,
            context,
            transport,
        } = self;
        let connector: Arc<dyn Connector> = Arc::new(backend.connector());
        let sessions = sandbox_ssh::SshSessions::new(Arc::clone(&connector), ssh_options(settings));
        let namespace = backend.namespace().to_owned();
        let (source, own) = (self.clone(), backend.clone());
        Ok(Parts {
            backend: Arc::new(backend),
            sessions: Arc::new(sessions),
            connector: Some(connector),
            defaults: Defaults::from_settings(settings)?,
            location: Some(format!("namespace {namespace} of {cluster}")),
            environment: environment(settings, &namespace, context.clone(), *transport),
            in_namespace: Some(Box::new(move |other| {
                source.parts(own.in_namespace(other)?)
            })),
            deletions: Leftovers::default(),
        })
    }
}

/// Returns the variables with which another process finds the same cluster and namespace. They name
/// what was chosen, because the current context may change.
fn environment(
    settings: &Settings,
    namespace: &str,
    context: Option<String>,
    transport: Transport,
) -> Vec<(&'static str, OsString)> {
    let mut environment = vec![
        ("SANDBOX_BACKEND", settings.backend.as_str().into()),
        ("SANDBOX_NAMESPACE", namespace.into()),
        ("SANDBOX_TRANSPORT", transport.as_str().into()),
    ];
    environment.extend(context.map(|context| ("SANDBOX_KUBE_CONTEXT", context.into())));
    match &settings.kubernetes.kubeconfig {
        Some(path) => environment.push(("SANDBOX_KUBECONFIG", absolute(path.clone()).into())),
        None => environment.extend(std::env::var_os("KUBECONFIG").map(|paths| {
            let absolute_paths = std::env::split_paths(&paths).map(absolute);
            // Joining fails only for a path that contains the separator, which the split removed.
            let joined = std::env::join_paths(absolute_paths).unwrap_or_else(|_| paths.clone());
            ("KUBECONFIG", joined)
        })),
    }
    environment
}

/// Makes a path absolute, because the other process may have another working directory.
fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn options(settings: &Settings) -> Result<KubernetesOptions> {
    let from = &settings.kubernetes;
    let mut options = KubernetesOptions::default();
    options.namespace.clone_from(&from.namespace);
    options.server_image.clone_from(&from.server_image);
    options.image_pull_secrets = from.image_pull_secret.iter().cloned().collect();
    options.image_pull_policy = from
        .image_pull_policy
        .as_deref()
        .map(|policy| parse_setting("SANDBOX_IMAGE_PULL_POLICY", policy))
        .transpose()?;
    options.injection = parse_setting("SANDBOX_INJECTION", &from.injection)?;
    if let Injection::Baked { path } = &mut options.injection {
        path.clone_from(&from.baked_path);
    }
    if let Injection::Image(server) = &mut options.injection {
        *server = image_server(&settings.ssh);
    }
    options.security = parse_setting("SANDBOX_SECURITY_PROFILE", &from.security_profile)?;
    options.run_as = from.run_as;
    options.transport = parse_setting("SANDBOX_TRANSPORT", &from.transport)?;
    options.startup_grace = from.startup_grace;
    options.owner_lease = from.owner_lease;
    Ok(options)
}

/// Whether Pods may get their server by an upload.
fn uploads_server(options: &KubernetesOptions) -> bool {
    matches!(
        options.injection,
        Injection::Inject(InjectVia::Auto | InjectVia::Upload | InjectVia::UploadVolume)
    )
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
        (None, None) => AuthorizedKey::for_user(&server.user),
    };
    server
}

#[cfg(test)]
mod tests {
    use sandbox_core::Error;
    use sandbox_k8s::options::SecurityProfile;

    use super::*;

    #[test]
    fn the_default_settings_are_the_default_options() {
        assert_eq!(
            options(&Settings::default()).unwrap(),
            KubernetesOptions::default()
        );
    }

    #[tokio::test]
    async fn another_namespace_differs_in_nothing_else() {
        let kubeconfig =
            std::env::temp_dir().join(format!("sandbox-kubeconfig-{}", std::process::id()));
        let text = r#"{"apiVersion": "v1", "kind": "Config", "current-context": "here",
            "clusters": [{"name": "c", "cluster": {"server": "http://127.0.0.1:1"}}],
            "contexts": [{"name": "here", "context": {"cluster": "c", "user": "u", "namespace": "one"}}],
            "users": [{"name": "u", "user": {}}]}"#;
        std::fs::write(&kubeconfig, text).unwrap();
        let mut settings = Settings::default();
        settings.kubernetes.kubeconfig = Some(kubeconfig.clone());
        let one = open(&settings, Extras::default()).await.unwrap();
        std::fs::remove_file(kubeconfig).unwrap();
        let in_namespace = one.in_namespace.as_ref().unwrap();
        let two = in_namespace("two").unwrap();
        assert!(in_namespace("no/namespace").is_err());
        let location = one.location.unwrap();
        assert!(location.starts_with("namespace one of "), "{location}");
        assert_eq!(two.location.unwrap(), location.replacen("one", "two", 1));
        let of_two = |variable: &(&'static str, OsString)| match variable.0 {
            "SANDBOX_NAMESPACE" => ("SANDBOX_NAMESPACE", "two".into()),
            _ => variable.clone(),
        };
        let expected: Vec<_> = one.environment.iter().map(of_two).collect();
        assert_eq!(two.environment, expected);
    }

    #[test]
    fn each_injection_can_be_chosen() {
        let mut settings = Settings::default();
        for (kind, expected) in [
            ("auto", Injection::Inject(InjectVia::Auto)),
            ("image-volume", Injection::Inject(InjectVia::ImageVolume)),
            (
                "init-container",
                Injection::Inject(InjectVia::InitContainer),
            ),
            ("upload", Injection::Inject(InjectVia::Upload)),
            ("upload-volume", Injection::Inject(InjectVia::UploadVolume)),
            ("baked", Injection::baked()),
            ("image", Injection::Image(ImageServer::default())),
        ] {
            settings.kubernetes.injection = kind.to_owned();
            assert_eq!(options(&settings).unwrap().injection, expected, "{kind}");
        }
    }

    #[test]
    fn the_settings_of_ssh_describe_an_image_sshd() {
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
    fn the_owner_lease_can_be_set() {
        let mut settings = Settings::default();
        settings.kubernetes.owner_lease = Some(std::time::Duration::from_secs(60));
        assert_eq!(
            options(&settings).unwrap().owner_lease,
            settings.kubernetes.owner_lease
        );
    }

    #[test]
    fn root_needs_the_profile_baseline() {
        let mut settings = Settings::default();
        settings.kubernetes.security_profile = "baseline".to_owned();
        settings.kubernetes.run_as = None;
        let options = options(&settings).unwrap();
        assert_eq!(
            (options.security, options.run_as),
            (SecurityProfile::Baseline, None)
        );
    }

    #[test]
    fn an_unknown_word_is_an_error_that_names_the_setting() {
        let mut settings = Settings::default();
        settings.kubernetes.transport = "pigeon".to_owned();
        match options(&settings) {
            Err(Error::Invalid {
                argument,
                value,
                reason,
            }) => {
                assert_eq!(
                    (argument.as_str(), value.as_str()),
                    ("SANDBOX_TRANSPORT", "pigeon")
                );
                assert_eq!(reason, "use auto, direct or port-forward");
            }
            other => panic!("{other:?}"),
        }
    }
}
