//! A client of the API server, from a kubeconfig or from the Pod that the program runs in.

mod build;
mod credentials;
mod errors;
mod files;
mod kubeconfig;
mod no_proxy;
mod plain_errors;
mod proxy;
mod proxy_error;

use std::fmt;
use std::time::Duration;

use http::{HeaderValue, header::USER_AGENT};
use kube::Client;
use sandbox_core::Result;

use kubeconfig::{SelectedCluster, select_cluster};

pub(crate) use errors::{credential_error, redact_credentials};
pub use kubeconfig::ClusterOptions;

/// Timeout of the credential program of a kubeconfig.
const CREDENTIALS_TIMEOUT: Duration = Duration::from_secs(30);

/// A cluster, and a client for it.
#[derive(Clone)]
#[non_exhaustive]
pub struct Cluster {
    /// For [`KubernetesBackend::new`](crate::KubernetesBackend::new).
    pub client: Client,
    /// The API server's address.
    pub server: String,
    /// The context of the kubeconfig, if one was named or the file has a current one.
    pub context: Option<String>,
}

/// The address and context, for people.
impl fmt::Display for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.server)?;
        self.context
            .as_ref()
            .map_or(Ok(()), |context| write!(f, " (context {context})"))
    }
}

impl fmt::Debug for Cluster {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Creates a client for [`KubernetesBackend::new`](crate::KubernetesBackend::new). Nothing is sent yet.
///
/// # Errors
///
/// As [`open`].
pub async fn connect(options: &ClusterOptions) -> Result<Client> {
    open(options).await.map(|cluster| cluster.client)
}

/// Finds the cluster that the options select, and creates a client for it. Nothing is sent yet.
///
/// The client does not have kube's retry layer, which repeats a create whose response was lost; the
/// backend does its own retries. Proxies are found as by kubectl: `proxy-url` in the kubeconfig, or
/// `HTTPS_PROXY` and `NO_PROXY`.
///
/// `rustls` needs one crypto provider for the whole process: this function installs ring if the program
/// has installed none.
///
/// # Errors
///
/// [`Error::Config`](sandbox_core::Error::Config) if there is no kubeconfig and the program does not run in a
/// Pod, if the kubeconfig cannot be read or lacks the context, if its credentials cannot be obtained, or if
/// the address of a proxy is invalid. Messages do not repeat the content of the kubeconfig.
pub async fn open(options: &ClusterOptions) -> Result<Cluster> {
    install_crypto_provider();
    let SelectedCluster {
        mut config,
        context,
        proxy,
    } = select_cluster(options).await?;
    let agent = HeaderValue::from_static(concat!("sandbox-sdk/", env!("CARGO_PKG_VERSION")));
    config.headers.push((USER_AGENT, agent));
    let server = config
        .cluster_url
        .to_string()
        .trim_end_matches('/')
        .to_owned();
    let client = build::build_client(config, proxy, CREDENTIALS_TIMEOUT).await?;
    Ok(Cluster {
        client,
        server,
        context,
    })
}

/// rustls panics if a program has two providers and has installed neither.
fn install_crypto_provider() {
    if rustls::crypto::CryptoProvider::get_default().is_none() {
        // An error means that another thread has installed one at the same time.
        let _installed = rustls::crypto::ring::default_provider()
            .install_default()
            .is_ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::Error;

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
        connect(&ClusterOptions {
            kubeconfig: Some(file.path().to_owned()),
            context,
        })
        .await
    }

    #[tokio::test]
    async fn a_context_has_its_namespace() {
        assert_eq!(
            open(KUBECONFIG, None).await.unwrap().default_namespace(),
            "default"
        );
        assert_eq!(
            open(KUBECONFIG, Some("b"))
                .await
                .unwrap()
                .default_namespace(),
            "boxes"
        );
    }

    #[tokio::test]
    async fn the_cluster_is_displayed_with_its_context() {
        let file = file(KUBECONFIG);
        let mut options = ClusterOptions {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        assert_eq!(
            super::open(&options).await.unwrap().to_string(),
            "https://127.0.0.1:1 (context a)"
        );
        options.context = Some("b".into());
        assert_eq!(
            super::open(&options).await.unwrap().to_string(),
            "https://127.0.0.1:1 (context b)"
        );
    }

    #[tokio::test]
    async fn errors_name_the_file_without_its_secrets() {
        for (text, context, expected) in [
            (KUBECONFIG, Some("nowhere"), "nowhere"),
            ("{", None, "kubeconfig"),
            ("", None, "kubeconfig"),
        ] {
            let error = open(text, context).await.err().unwrap();
            assert!(matches!(error, Error::Config { .. }), "{error:?}");
            assert!(error.to_string().contains(expected), "{error}");
            assert!(!error.to_string().contains("secret-token"), "{error}");
        }
        let missing = ClusterOptions {
            kubeconfig: Some("/nonexistent/config".into()),
            context: None,
        };
        let error = connect(&missing).await.err().unwrap();
        assert!(error.to_string().contains("/nonexistent/config"), "{error}");
    }

    #[tokio::test]
    async fn a_misspelt_context_gets_a_suggestion() {
        let text = KUBECONFIG.replace("name: b,", "name: kind-development,");
        for (wanted, expected) in [
            (
                "kind-developmnet",
                "has no context kind-developmnet: did you mean kind-development?",
            ),
            (
                "production",
                "has no context production; it has a, kind-development",
            ),
        ] {
            let error = open(&text, Some(wanted)).await.err().unwrap();
            assert!(error.to_string().contains(expected), "{error}");
        }
        let text = KUBECONFIG.replace("current-context: a", "current-context: c");
        let error = open(&text, None).await.err().unwrap();
        assert!(error.to_string().contains("has no context c"), "{error}");
        let error = open("apiVersion: v1", Some("a")).await.err().unwrap();
        assert!(error.to_string().contains("it has none"), "{error}");
    }

    #[tokio::test]
    async fn two_clients_can_be_created() {
        open(KUBECONFIG, None).await.unwrap();
        open(KUBECONFIG, None).await.unwrap();
    }

    /// Returns the head of the first request that a client of this kubeconfig sends.
    async fn first_request(text: &str) -> String {
        use tokio::io::AsyncReadExt;
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                assert_ne!(stream.read_buf(&mut head).await.unwrap(), 0);
            }
            String::from_utf8(head).unwrap()
        });
        let server_url = format!("http://{address}");
        let client = open(&text.replace("SERVER", &server_url), None)
            .await
            .unwrap();
        let request = http::Request::get("/version").body(kube::client::Body::empty());
        // The server closes the connection without a response.
        assert!(client.send(request.unwrap()).await.is_err());
        server.await.unwrap().to_lowercase()
    }

    #[tokio::test]
    async fn a_request_has_the_path_of_the_server_and_the_impersonated_user() {
        let user =
            "{token: t, as: Ann, as-uid: '7', as-groups: [g, h], as-user-extra: {Dept/x: [a, b]}}";
        let text = KUBECONFIG
            .replace("'https://127.0.0.1:1'", "SERVER/prefix")
            .replace("{token: secret-token}", user);
        let head = first_request(&text).await;
        for line in [
            "get /prefix/version http/1.1",
            "authorization: bearer t",
            "impersonate-user: ann",
            "impersonate-uid: 7",
            "impersonate-group: g",
            "impersonate-group: h",
            "impersonate-extra-dept%2fx: a",
            "impersonate-extra-dept%2fx: b",
        ] {
            assert!(head.lines().any(|other| other == line), "{line}: {head}");
        }
    }

    #[cfg(unix)]
    #[tokio::test]
    async fn a_credential_program_is_told_its_cluster_if_it_asks() {
        let directory = tempfile::tempdir().unwrap();
        let certificate = include_str!("credentials/client_certificate/testdata/one.crt");
        std::fs::write(directory.path().join("ca.crt"), certificate).unwrap();
        let seen = directory.path().join("seen");
        let script = format!(
            "printf %s \"$KUBERNETES_EXEC_INFO\" > {}; echo 'status: {{token: t}}'",
            seen.display()
        );
        let text = serde_json::json!({
            "current-context": "a",
            "contexts": [{"name": "a", "context": {"cluster": "c", "user": "u"}}],
            "clusters": [{"name": "c", "cluster": {
                "server": "https://127.0.0.1:1",
                "certificate-authority": "ca.crt",
                "tls-server-name": "kubernetes",
                "extensions": [{"name": "client.authentication.k8s.io/exec", "extension": {"audience": "x"}}],
            }}],
            "users": [{"name": "u", "user": {"exec": {
                "apiVersion": "client.authentication.k8s.io/v1beta1",
                "command": "sh",
                "args": ["-c", script],
                "provideClusterInfo": true,
            }}}],
        });
        let path = directory.path().join("config");
        std::fs::write(&path, text.to_string()).unwrap();
        connect(&ClusterOptions {
            kubeconfig: Some(path),
            context: None,
        })
        .await
        .unwrap();
        let exec_info: serde_json::Value =
            serde_json::from_slice(&std::fs::read(seen).unwrap()).unwrap();
        assert_eq!(
            exec_info["apiVersion"],
            "client.authentication.k8s.io/v1beta1"
        );
        let cluster = &exec_info["spec"]["cluster"];
        assert_eq!(cluster["server"], "https://127.0.0.1:1");
        assert_eq!(cluster["tls-server-name"], "kubernetes");
        assert_eq!(cluster["config"], serde_json::json!({"audience": "x"}));
        let authority = k8s_openapi::ByteString(certificate.into());
        assert_eq!(
            cluster["certificate-authority-data"],
            serde_json::to_value(authority).unwrap()
        );
    }

    #[tokio::test]
    async fn a_removed_auth_provider_is_named() {
        let text = KUBECONFIG.replace("{token: secret-token}", "{auth-provider: {name: gcp}}");
        let error = open(&text, None).await.err().unwrap();
        assert!(
            error
                .to_string()
                .contains("auth provider gcp of the kubeconfig was removed"),
            "{error}"
        );
    }
}
