//! The settings of a gateway.

mod file;
mod limits;
mod overrides;
mod preview;
mod reader;
mod secret_fields;
mod template;
mod template_fields;
mod transform_fields;
mod upstream_fields;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::limits::{KeyLimits, Limits};
pub use self::overrides::ConfigOverrides;
pub use self::preview::PreviewConfig;
pub use self::template::{Template, TemplatePool};

/// The settings of a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
    /// The address to serve Prometheus metrics on, under `/metrics`. `None`: they are not served.
    pub metrics_listen: Option<SocketAddr>,
    /// The file with the names and hashes of keys.
    pub keys_file: PathBuf,
    /// The file with the key that tokens and URLs are signed with: at least 32 random bytes. Replicas need the same.
    /// `None`: `signing.key` beside the file of keys, created if it is missing.
    pub signing_key_file: Option<PathBuf>,
    /// The domain whose labels `{port}-{id}` are the ports of sandboxes, with a port if it is not the usual one. `None`:
    /// ports can be reached by headers only.
    pub domain: Option<String>,
    /// The certificate and its key; plain HTTP without.
    pub tls: Option<TlsFiles>,
    /// The name that the sandboxes of this gateway and its replicas are labelled with.
    pub name: String,
    /// Whether there is a page for people at `/`.
    pub page: bool,
    /// The origins whose scripts may use the API from a browser; `*` stands for all. Empty: none.
    pub cors: Vec<String>,
    /// What requests and connections may take.
    pub limits: Limits,
    /// How requests to the ports of sandboxes are passed on.
    pub preview: PreviewConfig,
    /// What the holder of a key may take.
    pub key_limits: KeyLimits,
    /// The templates, by name.
    pub templates: BTreeMap<String, Template>,
}

/// Files in PEM format, which are read again when they change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, followed by those of its issuers.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

impl GatewayConfig {
    /// Settings with defaults for everything but the address and the file of keys.
    pub fn new(listen: SocketAddr, keys_file: PathBuf) -> Self {
        Self {
            listen,
            metrics_listen: None,
            keys_file,
            signing_key_file: None,
            domain: None,
            tls: None,
            name: "e2b".to_owned(),
            page: true,
            cors: Vec::new(),
            limits: Limits::default(),
            preview: PreviewConfig::default(),
            key_limits: KeyLimits::default(),
            templates: template::default_templates(),
        }
    }

    /// Returns the template with this name or alias, and its name.
    pub(crate) fn template(&self, name: &str) -> Option<(&str, &Template)> {
        self.templates
            .get_key_value(name)
            .or_else(|| {
                self.templates
                    .iter()
                    .find(|(_, template)| template.aliases.iter().any(|alias| alias == name))
            })
            .map(|(name, template)| (name.as_str(), template))
    }
}
