//! Which cluster, found as kubectl finds it.

use std::path::PathBuf;

use kube::Config;
use kube::config::{Cluster, KubeConfigOptions, Kubeconfig, KubeconfigError};
use sandbox_core::{Error, Result, nearest};

use super::errors::first_line;
use super::proxy::{self, Proxy};

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

/// The cluster, and the way to it.
pub(super) struct Chosen {
    pub(super) config: Config,
    /// Where it was named or the file has a current one.
    pub(super) context: Option<String>,
    pub(super) proxy: Option<Proxy>,
}

/// So many contexts are named where none is near.
const SHOWN: usize = 10;

pub(super) async fn choose(options: &ClusterOptions) -> Result<Chosen> {
    let is_named = options.kubeconfig.is_some() || options.context.is_some();
    let (what, file) = match &options.kubeconfig {
        Some(path) => (
            format!("the kubeconfig {}", path.display()),
            Kubeconfig::read_from(path),
        ),
        None => ("the kubeconfig".to_owned(), Kubeconfig::read()),
    };
    let chosen = match file {
        Ok(file) => {
            let context = options
                .context
                .clone()
                .or_else(|| file.current_context.clone());
            if is_named {
                has(&file, context.as_deref(), &what)?;
            }
            of_file(file, context, !is_named).await
        }
        Err(error) => Err(Unusable::File(error)),
    };
    match chosen {
        Ok(chosen) => Ok(chosen),
        Err(Unusable::Proxy(error)) => Err(error),
        Err(Unusable::File(error)) if is_named => {
            let context =
                options.context.as_ref().map(|name| format!(" (context {name})")).unwrap_or_default();
            Err(Error::Config { message: format!("{what}{context} cannot be used: {}", first_line(&error)) })
        }
        Err(Unusable::File(error)) => around_us().ok_or_else(|| Error::Config {
            message: format!(
                "no cluster is configured: there is no kubeconfig that can be used ({}), and this does not run in a \
                 Pod; name one with SANDBOX_KUBECONFIG or KUBECONFIG",
                first_line(&error)
            ),
        }),
    }
}

/// Why a kubeconfig does not lead anywhere.
enum Unusable {
    File(KubeconfigError),
    /// Which is no reason to look for another cluster.
    Proxy(Error),
}

/// What a kubeconfig says of a context. `overrides` are kube's own, for debugging.
async fn of_file(
    file: Kubeconfig,
    context: Option<String>,
    overrides: bool,
) -> Result<Chosen, Unusable> {
    let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
    let cluster = cluster(&file, context.as_deref())
        .cloned()
        .unwrap_or_default();
    let server = cluster
        .server
        .and_then(|server| server.parse().ok())
        .unwrap_or_default();
    let source = proxy::source(&server, cluster.proxy_url.as_deref(), variable);
    let wanted = KubeConfigOptions {
        context: context.clone(),
        ..KubeConfigOptions::default()
    };
    let mut config = match (Config::from_custom_kubeconfig(file, &wanted).await, &source) {
        (Ok(config), _) => config,
        (Err(KubeconfigError::ParseProxyUrl(_)), Some(source)) => {
            return Err(Unusable::Proxy(source.unusable()));
        }
        (Err(error), _) => return Err(Unusable::File(error)),
    };
    if overrides {
        config.apply_debug_overrides();
    }
    let proxy =
        proxy::of(&config.cluster_url, source.as_ref(), variable).map_err(Unusable::Proxy)?;
    Ok(Chosen {
        config,
        context,
        proxy,
    })
}

/// The cluster of the Pod that we are in. Its API server is near: no proxy is on the way.
fn around_us() -> Option<Chosen> {
    let mut config = Config::incluster().ok()?;
    config.apply_debug_overrides();
    Some(Chosen {
        config,
        context: None,
        proxy: None,
    })
}

/// The cluster of a context.
fn cluster<'a>(file: &'a Kubeconfig, context: Option<&str>) -> Option<&'a Cluster> {
    let context = file
        .contexts
        .iter()
        .find(|known| Some(known.name.as_str()) == context)?;
    let name = &context.context.as_ref()?.cluster;
    file.clusters
        .iter()
        .find(|known| known.name == *name)?
        .cluster
        .as_ref()
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
