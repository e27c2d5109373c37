//! Settings that flags and variables set, over those of a file.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Settings that flags and variables set. They take precedence over those of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ConfigOverrides {
    /// [`GatewayConfig::listen`](crate::GatewayConfig::listen).
    pub listen: Option<SocketAddr>,
    /// [`GatewayConfig::metrics_listen`](crate::GatewayConfig::metrics_listen).
    pub metrics_listen: Option<SocketAddr>,
    /// [`GatewayConfig::keys_file`](crate::GatewayConfig::keys_file).
    pub keys_file: Option<PathBuf>,
    /// [`GatewayConfig::signing_key_file`](crate::GatewayConfig::signing_key_file).
    pub signing_key_file: Option<PathBuf>,
    /// [`GatewayConfig::domain`](crate::GatewayConfig::domain).
    pub domain: Option<String>,
    /// [`TlsFiles::certificate`](crate::TlsFiles::certificate).
    pub tls_certificate: Option<PathBuf>,
    /// [`TlsFiles::key`](crate::TlsFiles::key).
    pub tls_key: Option<PathBuf>,
    /// [`GatewayConfig::page`](crate::GatewayConfig::page).
    pub page: Option<bool>,
    /// [`Template::backend_network`](crate::Template::backend_network) of every template without `egress`.
    pub backend_network: bool,
}
