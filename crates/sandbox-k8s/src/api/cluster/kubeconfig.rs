//! Selects the cluster as kubectl does.

use std::path::PathBuf;

use kube::Config;
use kube::config::{AuthInfo, Cluster, Context, KubeConfigOptions, Kubeconfig, KubeconfigError};
use sandbox_core::{Error, Result, nearest};

use super::errors::first_line;
use super::files::{self, ReadError};
use super::proxy::{self, Proxy};

/// Selects the cluster and the account. The default is what kubectl would use, or inside a Pod, the
/// cluster of that Pod.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClusterOptions {
    /// The kubeconfig file; `None` finds it as kubectl does (`KUBECONFIG`, `~/.kube/config`).
    pub kubeconfig: Option<PathBuf>,
    /// The context of the kubeconfig; `None` is its current one.
    pub context: Option<String>,
}

/// The cluster, and the proxy to it.
pub(super) struct SelectedCluster {
    pub(super) config: Config,
    /// The context, if one was named or the file has a current one.
    pub(super) context: Option<String>,
    pub(super) proxy: Option<Proxy>,
}

/// The number of contexts in a message that has no suggestion.
const MAX_LISTED_CONTEXTS: usize = 10;

/// Reads the kubeconfig, or without one, the configuration of the Pod that the program runs in. A kubeconfig that
/// cannot be used is an error, because another cluster than the one it names would be a surprise.
pub(super) async fn select_cluster(options: &ClusterOptions) -> Result<SelectedCluster> {
    let is_named = options.kubeconfig.is_some() || options.context.is_some();
    let (what, file) = match &options.kubeconfig {
        Some(path) => (
            format!("the kubeconfig {}", path.display()),
            files::read_file(path),
        ),
        None => ("the kubeconfig".to_owned(), files::read_default()),
    };
    let unusable = |reason: &str| {
        let context = options
            .context
            .as_ref()
            .map(|name| format!(" (context {name})"))
            .unwrap_or_default();
        Error::Config {
            message: format!("{what}{context} cannot be used: {reason}"),
        }
    };
    let file = match file {
        Ok(file) => file,
        Err(ReadError::Missing(reason)) if !is_named => return in_cluster(&reason),
        Err(ReadError::Missing(reason) | ReadError::Unusable(reason)) => {
            return Err(unusable(&reason));
        }
    };
    let context = options
        .context
        .clone()
        .or_else(|| file.current_context.clone());
    let Some(context) = context else {
        let reason = "it has no current context";
        return match is_named {
            true => Err(unusable(reason)),
            false => in_cluster(reason),
        };
    };
    check_context_exists(&file, &context, &what)?;
    select_context(file, context, !is_named)
        .await
        .map_err(|error| match error {
            ContextError::Unusable(reason) => unusable(&reason),
            ContextError::Proxy(error) => error,
        })
}

/// Why a context cannot be used.
enum ContextError {
    Unusable(String),
    Proxy(Error),
}

/// Reads one context of a kubeconfig. `overrides` applies kube's environment variables for debugging.
async fn select_context(
    mut file: Kubeconfig,
    context: String,
    overrides: bool,
) -> Result<SelectedCluster, ContextError> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let user = find_user(&file, &context).cloned().unwrap_or_default();
    let cluster = match find_cluster(&mut file, &context) {
        Some(cluster) => {
            complete_cluster(cluster, &user).map_err(ContextError::Unusable)?;
            cluster.clone()
        }
        None => Cluster::default(),
    };
    let server = cluster
        .server
        .and_then(|server| server.parse().ok())
        .unwrap_or_default();
    let source = proxy::find_source(&server, cluster.proxy_url.as_deref(), variable);
    let kube_options = KubeConfigOptions {
        context: Some(context.clone()),
        ..KubeConfigOptions::default()
    };
    let mut config = match (
        Config::from_custom_kubeconfig(file, &kube_options).await,
        &source,
    ) {
        (Ok(config), _) => config,
        (Err(KubeconfigError::ParseProxyUrl(_)), Some(source)) => {
            return Err(ContextError::Proxy(source.invalid_address_error()));
        }
        (Err(error), _) => return Err(ContextError::Unusable(first_line(&error))),
    };
    if config.root_cert.as_ref().is_some_and(Vec::is_empty) {
        return Err(ContextError::Unusable(
            "its certificate-authority has no certificate in it".to_owned(),
        ));
    }
    if cluster.certificate_authority_data.is_none() {
        // kube reads the file again when it is replaced.
        config.root_cert_file = cluster.certificate_authority.map(PathBuf::from);
    }
    if overrides {
        config.apply_debug_overrides();
    }
    let proxy = proxy::resolve_proxy(&config.cluster_url, source.as_ref(), variable)
        .map_err(ContextError::Proxy)?;
    Ok(SelectedCluster {
        config,
        context: Some(context),
        proxy,
    })
}

/// The cluster of the Pod that the program runs in, which is reached without a proxy.
fn in_cluster(reason: &str) -> Result<SelectedCluster> {
    let mut config = Config::incluster().map_err(|_not_in_a_pod| Error::Config {
        message: format!(
            "no cluster is configured: no usable kubeconfig was found ({reason}), and the program does not run \
             in a Pod; set SANDBOX_KUBECONFIG or KUBECONFIG"
        ),
    })?;
    config.default_namespace = config.default_namespace.trim().to_owned();
    config.apply_debug_overrides();
    Ok(SelectedCluster {
        config,
        context: None,
        proxy: None,
    })
}

/// Completes the cluster's entry as client-go does: an address without a scheme is one of HTTPS if the entry says
/// anything about certificates.
fn complete_cluster(cluster: &mut Cluster, user: &AuthInfo) -> Result<(), String> {
    let has_authority =
        cluster.certificate_authority.is_some() || cluster.certificate_authority_data.is_some();
    let is_insecure = cluster.insecure_skip_tls_verify.unwrap_or(false);
    if has_authority && is_insecure {
        return Err(
            "it has both insecure-skip-tls-verify and a certificate-authority for this cluster; remove one of them"
                .to_owned(),
        );
    }
    let has_certificate =
        user.client_certificate.is_some() || user.client_certificate_data.is_some();
    if let Some(server) = &mut cluster.server
        && !server.contains("://")
    {
        let scheme = match has_authority || has_certificate || is_insecure {
            true => "https",
            false => "http",
        };
        *server = format!("{scheme}://{server}");
    }
    Ok(())
}

fn find_context<'a>(file: &'a Kubeconfig, context: &str) -> Option<&'a Context> {
    let mut entries = file.contexts.iter();
    entries
        .find(|entry| entry.name == context)?
        .context
        .as_ref()
}

/// Returns the user of a context. It may have none.
fn find_user<'a>(file: &'a Kubeconfig, context: &str) -> Option<&'a AuthInfo> {
    let name = find_context(file, context)?.user.as_ref()?;
    let mut entries = file.auth_infos.iter();
    entries
        .find(|entry| entry.name == *name)?
        .auth_info
        .as_ref()
}

/// Returns the cluster entry of a context.
fn find_cluster<'a>(file: &'a mut Kubeconfig, context: &str) -> Option<&'a mut Cluster> {
    let name = find_context(file, context)?.cluster.clone();
    let mut entries = file.clusters.iter_mut();
    entries.find(|entry| entry.name == name)?.cluster.as_mut()
}

/// Checks that there is a context of this name, and suggests a similar one otherwise.
fn check_context_exists(file: &Kubeconfig, context: &str, what: &str) -> Result<()> {
    let names = || file.contexts.iter().map(|context| context.name.as_str());
    if names().any(|name| name == context) {
        return Ok(());
    }
    let message = match nearest(context, names()) {
        Some(near) => format!("{what} has no context {context}: did you mean {near}?"),
        None => {
            let mut list = names()
                .take(MAX_LISTED_CONTEXTS)
                .collect::<Vec<_>>()
                .join(", ");
            match names().count() {
                0 => list.push_str("none"),
                more if more > MAX_LISTED_CONTEXTS => list.push_str(", …"),
                _ => {}
            }
            format!("{what} has no context {context}; it has {list}")
        }
    };
    Err(Error::Config { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn select(cluster: &str, user: &str) -> Result<Config, String> {
        let text = format!(
            "current-context: x\nclusters: [{{name: c, cluster: {{{cluster}}}}}]\n\
             users: [{{name: u, user: {{{user}}}}}]\ncontexts: [{{name: x, context: {{cluster: c, user: u}}}}]\n"
        );
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        let options = ClusterOptions {
            kubeconfig: Some(file.path().to_owned()),
            context: None,
        };
        match select_cluster(&options).await {
            Ok(selected) => Ok(selected.config),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn an_address_without_a_scheme_is_completed() {
        for (cluster, user, expected) in [
            ("server: '127.0.0.1:8001'", "", "http://127.0.0.1:8001/"),
            (
                "server: 'c:6443', insecure-skip-tls-verify: true",
                "",
                "https://c:6443/",
            ),
            (
                "server: 'c:6443'",
                "client-certificate: /c, client-key: /k",
                "https://c:6443/",
            ),
            (
                "server: 'https://c/k8s/clusters/1'",
                "",
                "https://c/k8s/clusters/1",
            ),
        ] {
            let config = select(cluster, user).await.unwrap();
            assert_eq!(config.cluster_url.to_string(), expected);
        }
    }

    #[tokio::test]
    async fn clusters_that_contradict_themselves_are_refused() {
        let empty = tempfile::NamedTempFile::new().unwrap();
        let no_certificate = format!(
            "server: 'https://c', certificate-authority: {}",
            empty.path().display()
        );
        for (cluster, expected) in [
            (
                "server: 'https://c', insecure-skip-tls-verify: true, certificate-authority-data: YQ==",
                "both insecure-skip-tls-verify and a certificate-authority",
            ),
            (no_certificate.as_str(), "no certificate in it"),
            (
                "server: 'https://c', certificate-authority: /nonexistent/ca",
                "/nonexistent/ca",
            ),
            ("insecure-skip-tls-verify: true", "url is missing"),
            ("server: 'https://a b'", "cluster url"),
        ] {
            let error = select(cluster, "").await.err().unwrap();
            assert!(
                error.contains("cannot be used: ") && error.contains(expected),
                "{error}"
            );
        }
    }
}
