//! The settings of a gateway.

mod limits;
mod preview;

use std::net::SocketAddr;
use std::path::PathBuf;

pub use self::preview::PreviewConfig;
pub use self::limits::{KeyLimits, Limits};

/// The settings of a gateway.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct GatewayConfig {
    /// The address to listen on.
    pub listen: SocketAddr,
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
    /// Whether the page for people is served at `/`.
    pub page: bool,
    /// What requests and connections may take.
    pub limits: Limits,
    /// How requests to the ports of sandboxes are passed on.
    pub preview: PreviewConfig,
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
            keys_file,
            signing_key_file: None,
            domain: None,
            tls: None,
            name: "e2b".to_owned(),
            page: true,
            limits: Limits::default(),
            preview: PreviewConfig::default(),
        }
    }
}
