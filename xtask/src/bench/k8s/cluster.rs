//! The cluster under test: a namespace for the run, and clients whose requests are counted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Api;
use kube::api::{DeleteParams, PostParams};
use kube::client::Body;
use sandbox::{Client, Defaults, SandboxId};
use sandbox_k8s::options::{
    InjectVia, Injection, KubernetesOptions, PullPolicy, SecurityProfile, ServerPrograms, Transport,
};
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};

/// How SSH gets into the Pod.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    Baked,
    Inject,
    Upload,
    Image,
}

pub(super) struct Cluster {
    pub(super) api: kube::Client,
    pub(super) namespace: String,
    /// An image with a shell.
    pub(super) image: String,
    pub(super) server_image: String,
    pub(super) sshd_image: Option<String>,
    server_programs: ServerPrograms,
    kubeconfig: Option<PathBuf>,
}

impl Cluster {
    pub(super) async fn connect() -> Result<Self> {
        let kubeconfig = std::env::var_os("SANDBOX_KUBECONFIG").map(PathBuf::from);
        let mut options = ClusterOptions::default();
        options.kubeconfig.clone_from(&kubeconfig);
        let api = connect_cluster(&options).await?;
        let mut namespace = Namespace::default();
        let name = format!("bench-{}", SandboxId::generate()?);
        namespace.metadata.name = Some(name.clone());
        Api::all(api.clone())
            .create(&PostParams::default(), &namespace)
            .await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(api.clone(), &name);
        while accounts.get_opt("default").await?.is_none() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(Self {
            api,
            namespace: name,
            image: std::env::var("SANDBOX_IMAGE")
                .context("SANDBOX_IMAGE names an image with a shell")?,
            server_image: std::env::var("SANDBOX_SERVER_IMAGE")
                .context("SANDBOX_SERVER_IMAGE is not set")?,
            sshd_image: std::env::var("SANDBOX_BENCH_SSHD_IMAGE").ok(),
            server_programs: match std::env::var_os("SANDBOX_SERVER_PATH") {
                Some(path) => ServerPrograms::from_path(path.as_ref())?,
                None => ServerPrograms::default(),
            },
            kubeconfig,
        })
    }

    pub(super) async fn delete_namespace(self) -> Result<()> {
        let all: Api<Namespace> = Api::all(self.api);
        all.delete(&self.namespace, &DeleteParams::default())
            .await?;
        Ok(())
    }

    pub(super) async fn version(&self) -> Result<String> {
        Ok(self.api.apiserver_version().await?.git_version)
    }

    /// Whether the environment names what this mode needs.
    pub(super) fn supports(&self, mode: Mode) -> bool {
        match mode {
            Mode::Baked | Mode::Inject => true,
            Mode::Upload => !self.server_programs.is_empty(),
            Mode::Image => self.sshd_image.is_some(),
        }
    }

    /// A new client with nothing cached, and the counter of its requests.
    pub(super) fn client(&self, mode: Mode, transport: Transport) -> (Client, Requests) {
        let requests = Requests::default();
        let mut options = KubernetesOptions::default();
        options.namespace = Some(self.namespace.clone());
        options.server_image = Some(self.server_image.clone());
        options.image_pull_policy = Some(PullPolicy::IfNotPresent);
        options.transport = transport;
        let mut defaults = Defaults::default();
        defaults.image = Some(self.image.clone());
        match mode {
            Mode::Inject => {}
            Mode::Upload => {
                options.injection = Injection::Inject(InjectVia::Upload);
                options.server_programs = self.server_programs.clone();
            }
            // The server's own image contains what a COPY line would add to any other image.
            Mode::Baked => {
                options.injection = Injection::Baked {
                    path: "/sandbox-sshd".into(),
                };
                defaults.image = Some(self.server_image.clone());
            }
            Mode::Image => {
                options.injection = Injection::Image(Default::default());
                options.security = SecurityProfile::Baseline;
                defaults.image.clone_from(&self.sshd_image);
            }
        }
        let backend = KubernetesBackend::new(requests.counting(self.api.clone()), options)
            .with_host_key_probe(Arc::new(sandbox_ssh::SshHostKeyProbe::new()));
        let connector = Arc::new(backend.connector());
        let sessions = sandbox_ssh::SshSessions::new(connector, sandbox_ssh::SshOptions::default());
        (
            Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults),
            requests,
        )
    }

    /// kubectl for this cluster and namespace, where it is installed.
    pub(super) fn kubectl(&self) -> Option<std::process::Command> {
        let path = std::env::var_os("PATH")?;
        std::env::split_paths(&path).find(|place| place.join("kubectl").is_file())?;
        let mut kubectl = std::process::Command::new("kubectl");
        if let Some(kubeconfig) = &self.kubeconfig {
            kubectl.arg("--kubeconfig").arg(kubeconfig);
        }
        kubectl.args(["--namespace", &self.namespace]);
        Some(kubectl)
    }
}

/// Counts requests by method and kind.
#[derive(Clone, Default)]
pub(super) struct Requests(Arc<Mutex<BTreeMap<String, usize>>>);

impl Requests {
    fn counting(&self, client: kube::Client) -> kube::Client {
        let counts = self.clone();
        let namespace = client.default_namespace().to_owned();
        let service = tower::service_fn(move |request: http::Request<Body>| {
            let watches = request
                .uri()
                .query()
                .is_some_and(|query| query.contains("watch=true"));
            let path = request.uri().path();
            // The SDK reads events for the progress of an image pull.
            let mut kinds = ["secrets", "events"].into_iter();
            let kind = kinds
                .find(|kind| path.contains(&format!("/{kind}")))
                .unwrap_or("pods");
            let what = match path.rsplit('/').next() {
                _ if watches => format!("WATCH {kind}"),
                Some("portforward") => "port-forwards".to_owned(),
                _ => format!("{} {kind}", request.method()),
            };
            *counts
                .0
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(what)
                .or_default() += 1;
            let client = client.clone();
            async move { client.send(request).await }
        });
        kube::Client::new(service, namespace)
    }

    pub(super) fn summary(&self) -> String {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts
            .iter()
            .map(|(what, count)| format!("{count} {what}"))
            .collect::<Vec<_>>()
            .join(", ")
    }
}
