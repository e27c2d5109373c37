//! Selects the cluster as kubectl does.

use std::path::PathBuf;

use kube::Config;
use kube::config::{Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use sandbox_core::{Error, Result, nearest};

use super::errors::first_line;
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

/// Reads the kubeconfig, or without a usable one, the configuration of the Pod that the program runs in.
pub(super) async fn select_cluster(options: &ClusterOptions) -> Result<SelectedCluster> {
    let is_named = options.kubeconfig.is_some() || options.context.is_some();
    let (what, file) = match &options.kubeconfig {
        Some(path) => (
            format!("the kubeconfig {}", path.display()),
            Kubeconfig::read_from(path),
        ),
        None => ("the kubeconfig".to_owned(), read_default()),
    };
    let selected = match file {
        Ok(file) => {
            let context = options
                .context
                .clone()
                .or_else(|| file.current_context.clone());
            if is_named {
                check_context_exists(&file, context.as_deref(), &what)?;
            }
            select_context(file, context, !is_named).await
        }
        Err(error) => Err(KubeconfigProblem::File(error)),
    };
    match selected {
        Ok(cluster) => Ok(cluster),
        Err(KubeconfigProblem::Proxy(error)) => Err(error),
        Err(KubeconfigProblem::File(error)) if is_named => {
            let context =
                options.context.as_ref().map(|name| format!(" (context {name})")).unwrap_or_default();
            Err(Error::Config { message: format!("{what}{context} cannot be used: {}", first_line(&error)) })
        }
        Err(KubeconfigProblem::File(error)) => in_cluster().ok_or_else(|| Error::Config {
            message: format!(
                "no cluster is configured: no usable kubeconfig was found ({}), and the program does not run \
                 in a Pod; set SANDBOX_KUBECONFIG or KUBECONFIG",
                first_line(&error)
            ),
        }),
    }
}

/// Reads the kubeconfig that kubectl would use. Missing files of the list in `KUBECONFIG` are skipped.
/// <https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/>
fn read_default() -> Result<Kubeconfig, KubeconfigError> {
    let paths: Vec<PathBuf> = std::env::var_os("KUBECONFIG")
        .map(|list| std::env::split_paths(&list).collect())
        .unwrap_or_default();
    let existing: Vec<&PathBuf> = paths.iter().filter(|path| path.exists()).collect();
    if existing.is_empty() {
        // kube reports the missing file, or reads ~/.kube/config if none is listed.
        return Kubeconfig::read();
    }
    merge_files(&existing)
}

fn merge_files(paths: &[&PathBuf]) -> Result<Kubeconfig, KubeconfigError> {
    paths
        .iter()
        .try_fold(Kubeconfig::default(), |merged, path| {
            merged.merge(Kubeconfig::read_from(path)?)
        })
}

/// Why a kubeconfig cannot be used.
enum KubeconfigProblem {
    File(KubeconfigError),
    /// Unlike a missing file, this does not permit falling back to another cluster.
    Proxy(Error),
}

/// Reads one context of a kubeconfig. `overrides` applies kube's environment variables for debugging.
async fn select_context(
    file: Kubeconfig,
    context: Option<String>,
    overrides: bool,
) -> Result<SelectedCluster, KubeconfigProblem> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cluster = find_cluster(&file, context.as_deref())
        .cloned()
        .unwrap_or_default();
    let server = cluster
        .server
        .and_then(|server| server.parse().ok())
        .unwrap_or_default();
    let source = proxy::find_source(&server, cluster.proxy_url.as_deref(), variable);
    let kube_options = KubeConfigOptions {
        context: context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match (
        Config::from_custom_kubeconfig(file, &kube_options).await,
        &source,
    ) {
        (Ok(config), _) => config,
        (Err(KubeconfigError::ParseProxyUrl(_)), Some(source)) => {
            return Err(KubeconfigProblem::Proxy(source.invalid_address_error()));
        }
        (Err(error), _) => return Err(KubeconfigProblem::File(error)),
    };
    if overrides {
        config.apply_debug_overrides();
    }
    let proxy = proxy::resolve_proxy(&config.cluster_url, source.as_ref(), variable)
        .map_err(KubeconfigProblem::Proxy)?;
    Ok(SelectedCluster {
        config,
        context,
        proxy,
    })
}

/// The cluster of the Pod that the program runs in, which is reached without a proxy.
fn in_cluster() -> Option<SelectedCluster> {
    let mut config = Config::incluster().ok()?;
    config.apply_debug_overrides();
    Some(SelectedCluster {
        config,
        context: None,
        proxy: None,
    })
}

/// Returns the cluster entry of a context.
fn find_cluster<'a>(file: &'a Kubeconfig, context: Option<&str>) -> Option<&'a Cluster> {
    let context = file
        .contexts
        .iter()
        .find(|entry| Some(entry.name.as_str()) == context)?;
    let name = &context.context.as_ref()?.cluster;
    file.clusters
        .iter()
        .find(|entry| entry.name == *name)?
        .cluster
        .as_ref()
}

/// Checks that there is a context of this name, and suggests a similar one otherwise.
fn check_context_exists(file: &Kubeconfig, context: Option<&str>, what: &str) -> Result<()> {
    let names = || file.contexts.iter().map(|context| context.name.as_str());
    let Some(context) = context.filter(|context| !names().any(|name| name == *context)) else {
        return Ok(());
    };
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

    #[test]
    fn files_of_the_list_are_merged_and_the_first_wins() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str, context: &str| {
            let path = directory.path().join(name);
            let text = format!("current-context: {context}\ncontexts: [{{name: {context}}}]\n");
            std::fs::write(&path, text).unwrap();
            path
        };
        let (first, second) = (write("a", "one"), write("b", "two"));
        let merged = merge_files(&[&first, &second]).unwrap();
        assert_eq!(merged.current_context.as_deref(), Some("one"));
        assert_eq!(merged.contexts.len(), 2);
        assert!(merge_files(&[&directory.path().join("missing")]).is_err());
    }
}
