//! A client of the API server: from a kubeconfig, or from the Pod that this runs in.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use kube::client::{AuthError, ConfigExt};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use sandbox_core::{Error, Result, nearest};
use tower::{BoxError, ServiceBuilder};

/// Which cluster, and as whom; the default is what kubectl would take, or, in a Pod, the
/// cluster that it is in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The kubeconfig file; `None` finds it as kubectl does (`KUBECONFIG`, `~/.kube/config`).
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` is its current one.
    pub context: Option<String>,
}

/// So many contexts are named where none is near.
const SHOWN: usize = 10;

/// How long the API server's address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// A cluster that was chosen.
#[derive(Clone)]
#[non_exhaustive]
pub struct Cluster {
    /// For [`KubernetesBackend::new`](crate::KubernetesBackend::new).
    pub client: Client,
    /// The API server's address.
    pub server: String,
    /// The context of the kubeconfig, where it was named or the file has a current one.
    pub context: Option<String>,
}

/// For people: which cluster it is.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)?;
        self.context.as_ref().map_or(Ok(()), |context| write!(f, " (context {context})"))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A client for [`KubernetesBackend::new`](crate::KubernetesBackend::new). Nothing is sent yet.
///
/// # Errors
///
/// As [`open`].
pub async fn connect(options: &ClusterOptions) -> Result<Client> {
    open(options).await.map(|cluster| cluster.client)
}

/// The cluster that these options mean. Nothing is sent yet.
///
/// kube's own retry layer is off, for it repeats a create whose answer was lost; the backend has
/// its own. `rustls` needs one crypto provider for the whole process: ring is chosen where the
/// program has chosen none.
///
/// # Errors
///
/// [`Error::Config`] when there is no kubeconfig and this is no Pod, or when the kubeconfig
/// cannot be read or has no such context. Its content is not repeated.
pub async fn open(options: &ClusterOptions) -> Result<Cluster> {
    choose_crypto();
    let (mut config, context) = config(options).await?;
    config.default_retry = false;
    config.connect_timeout = Some(CONNECT);
    let agent = HeaderValue::from_static(concat!("sandbox-sdk/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    let server = config.cluster_url.to_string().trim_end_matches('/').to_owned();
    let client = prompt(config).map_err(|source| Error::Config {
        message: match source {
            // The program that a kubeconfig names for credentials runs here for the first time.
            kube::Error::Auth(error) => credentials(error),
            source => format!("no client can be made for the cluster: {}", outermost(&source)),
        },
    })?;
    Ok(Cluster { client, server, context })
}

/// kube's own connector leaves `TCP_NODELAY` off, and a command over a port-forward then takes
/// 44 ms instead of 3: each small packet waits for the last to be acknowledged. Through a proxy it
/// is kube's own all the same.
fn prompt(config: Config) -> Result<Client, kube::Error> {
    if config.proxy_url.is_some() {
        return Client::try_from(config);
    }
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    let tls = config.rustls_https_connector_with_connector(tcp)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from)
        .service(hyper_util::client::legacy::Client::builder(TokioExecutor::new()).build(tls));
    Ok(Client::new(service, config.default_namespace))
}

/// Which cluster, and the context that it is of, where that is known.
async fn config(options: &ClusterOptions) -> Result<(Config, Option<String>)> {
    let wanted = KubeConfigOptions { context: options.context.clone(), ..KubeConfigOptions::default() };
    let of_file = |what: String, error: kube::config::KubeconfigError| {
        let context = options.context.as_ref().map(|name| format!(" (context {name})")).unwrap_or_default();
        Error::Config { message: format!("{what}{context} cannot be used: {}", outermost(&error)) }
    };
    if let Some(path) = &options.kubeconfig {
        let what = || format!("the kubeconfig {}", path.display());
        let file = Kubeconfig::read_from(path).map_err(|error| of_file(what(), error))?;
        let context = options.context.clone().or_else(|| file.current_context.clone());
        has(&file, context.as_deref(), &what())?;
        let config = Config::from_custom_kubeconfig(file, &wanted).await;
        return Ok((config.map_err(|error| of_file(what(), error))?, context));
    }
    if options.context.is_some() {
        let what = || "the kubeconfig".to_owned();
        let file = Kubeconfig::read().map_err(|error| of_file(what(), error))?;
        has(&file, options.context.as_deref(), &what())?;
        let config = Config::from_custom_kubeconfig(file, &wanted).await;
        let config = config.map_err(|error| of_file(what(), error))?;
        return Ok((config, options.context.clone()));
    }
    let config = Config::infer().await.map_err(|error| Error::Config {
        message: format!(
            "no cluster is configured: there is no kubeconfig that can be used ({}), and this does not run in a \
             Pod; name one with SANDBOX_KUBECONFIG or KUBECONFIG",
            outermost(&error)
        ),
    })?;
    Ok((config, None))
}

/// Whether there is a context of this name.
fn has(file: &Kubeconfig, context: Option<&str>, what: &str) -> Result<()> {
    let names = || file.contexts.iter().map(|context| context.name.as_str());
    let Some(context) = context.filter(|context| !names().any(|name| name == *context)) else {
        return Ok(());
    };
    let message = match nearest(context, names()) {
        Some(near) => format!("{what} has no context {context}: did you mean {near}?"),
        None => {
            let mut known = names().take(SHOWN).collect::<Vec<_>>().join(", ");
            match names().count() {
                0 => known.push_str("none"),
                more if more > SHOWN => known.push_str(", …"),
                _ => {}
            }
            format!("{what} has no context {context}; it has {known}")
        }
    };
    Err(Error::Config { message })
}

/// rustls panics when a program has two providers and none was chosen.
fn choose_crypto() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread was faster, and its choice is as good.
        let _chosen = rustls::crypto::ring::default_provider().install_default().is_ok();
    }
}

/// Why there are no credentials. What the program that gives them has written may be a token, and
/// its arguments are nobody's business either: neither is repeated.
pub(crate) fn credentials(error: AuthError) -> String {
    let why = match error {
        AuthError::AuthExecRun { out, .. } => {
            let advice = "run kubectl to see what it says, or log in again";
            format!("the program of the kubeconfig that gives them failed with {} ({advice})", out.status)
        }
        AuthError::AuthExecStart(error) => {
            format!("the program of the kubeconfig that gives them cannot be started: {error}")
        }
        AuthError::AuthExecParse(_) | AuthError::ParseTokenKey(_) => {
            "the program of the kubeconfig that gives them wrote something else".to_owned()
        }
        error => error.to_string(),
    };
    format!("the cluster's credentials: {why}")
}

/// kube repeats causes in its sentences: the first line is enough.
fn outermost(error: &dyn std::error::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KUBECONFIG: &str = "\
apiVersion: v1
kind: Config
current-context: a
clusters: [{name: c, cluster: {server: 'https://127.0.0.1:1'}}]
users: [{name: u, user: {token: secret-token}}]
contexts:
- {name: a, context: {cluster: c, user: u}}
- {name: b, context: {cluster: c, user: u, namespace: boxes}}
";

    fn file(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    async fn open(text: &str, context: Option<&str>) -> Result<Client> {
        let file = file(text);
        let context = context.map(str::to_owned);
        connect(&ClusterOptions { kubeconfig: Some(file.path().to_owned()), context }).await
    }

    #[tokio::test]
    async fn a_context_has_its_namespace() {
        assert_eq!(open(KUBECONFIG, None).await.unwrap().default_namespace(), "default");
        assert_eq!(open(KUBECONFIG, Some("b")).await.unwrap().default_namespace(), "boxes");
    }

    #[tokio::test]
    async fn people_are_told_which_cluster() {
        let file = file(KUBECONFIG);
        let mut options = ClusterOptions { kubeconfig: Some(file.path().to_owned()), context: None };
        assert_eq!(super::open(&options).await.unwrap().to_string(), "https://127.0.0.1:1 (context a)");
        options.context = Some("b".into());
        assert_eq!(super::open(&options).await.unwrap().to_string(), "https://127.0.0.1:1 (context b)");
    }

    #[tokio::test]
    async fn what_is_wrong_is_named_without_its_secrets() {
        for (text, context, said) in
            [(KUBECONFIG, Some("nowhere"), "nowhere"), ("{", None, "kubeconfig"), ("", None, "kubeconfig")]
        {
            let error = open(text, context).await.err().unwrap();
            assert!(matches!(error, Error::Config { .. }), "{error:?}");
            assert!(error.to_string().contains(said), "{error}");
            assert!(!error.to_string().contains("secret-token"), "{error}");
        }
        let missing = ClusterOptions { kubeconfig: Some("/nonexistent/config".into()), context: None };
        let error = connect(&missing).await.err().unwrap();
        assert!(error.to_string().contains("/nonexistent/config"), "{error}");
    }

    #[tokio::test]
    async fn a_context_that_is_not_there_may_be_a_slip() {
        let text = KUBECONFIG.replace("name: b,", "name: kind-development,");
        for (wanted, said) in [
            ("kind-developmnet", "has no context kind-developmnet: did you mean kind-development?"),
            ("production", "has no context production; it has a, kind-development"),
        ] {
            let error = open(&text, Some(wanted)).await.err().unwrap();
            assert!(error.to_string().contains(said), "{error}");
        }
        let text = KUBECONFIG.replace("current-context: a", "current-context: c");
        let error = open(&text, None).await.err().unwrap();
        assert!(error.to_string().contains("has no context c"), "{error}");
        let error = open("apiVersion: v1", Some("a")).await.err().unwrap();
        assert!(error.to_string().contains("it has none"), "{error}");
    }

    #[tokio::test]
    async fn two_clients_do_not_mind_each_other() {
        open(KUBECONFIG, None).await.unwrap();
        open(KUBECONFIG, None).await.unwrap();
    }
}
