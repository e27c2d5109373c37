//! Builds the HTTP client: TLS, credentials, and the proxy.

use std::sync::Arc;
use std::time::Duration;

use hyper_rustls::{FixedServerNameResolver, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use kube::client::ConfigExt;
use kube::config::AuthInfo;
use kube::{Client, Config};
use rustls::ClientConfig;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use sandbox_core::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tower::{BoxError, ServiceBuilder};

use super::credentials::{AuthenticatedClient, Credentials};
use super::errors::first_line;
use super::plain_errors::with_plain_errors;
use super::proxy::Proxy;
use super::proxy_error::describe_errors_of;

/// Timeout of a TCP connection to the API server or its proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the client, and gets its first credentials, for which the credential program of the kubeconfig may
/// ask a person.
///
/// Files are read on a thread of their own, because they may be on a file system that does not respond. No
/// runtime waits for this thread when it shuts down, and the thread is abandoned after `limit`.
pub(super) async fn build_client(
    config: Config,
    proxy: Option<Proxy>,
    limit: Duration,
) -> Result<Client> {
    let (sender, receiver) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name("kubeconfig".into())
        .spawn(move || {
            let _entered = runtime.enter();
            // Sending fails if the caller has given up.
            drop(sender.send(build(config, proxy)));
        });
    thread.map_err(build_error)?;
    let (client, credentials) = match tokio::time::timeout(limit, receiver).await {
        Ok(Ok(built)) => built?,
        Ok(Err(_)) => return Err(build_error("kube panicked")),
        Err(_elapsed) => {
            return Err(build_error(format!(
                "the files of the kubeconfig could not be read within {limit:?}"
            )));
        }
    };
    credentials.prepare(limit).await?;
    Ok(client)
}

fn build_error(reason: impl std::fmt::Display) -> Error {
    Error::Config {
        message: format!("cannot create a client for the cluster: {reason}"),
    }
}

fn build(mut config: Config, proxy: Option<Proxy>) -> Result<(Client, Arc<Credentials>)> {
    let kube_error = |error: kube::Error| build_error(first_line(&error));
    let credentials = Arc::new(Credentials::read(&config.auth_info)?);
    // kube gets neither the credential program, which it would run, nor the client certificate.
    let headers = config.extra_headers_layer().map_err(kube_error)?;
    config.auth_info = AuthInfo::default();
    let tls = Tls::new(&config, &credentials)?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .layer(headers)
        .map_err(BoxError::from);
    let namespace = config.default_namespace;
    let client = match proxy {
        None => {
            let http = AuthenticatedClient::new(
                Arc::clone(&credentials),
                with_plain_errors(tls.to_cluster(tcp_connector())),
            );
            Client::new(service.service(http), namespace)
        }
        Some(Proxy::Tunnel(proxy)) => {
            let describe_errors = ServiceBuilder::new().map_err(describe_errors_of(proxy.uri()));
            let mut tunnel = Tunnel::new(proxy.uri().clone(), tls.to_proxy(tcp_connector()));
            if let Some(password) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(password.clone());
            }
            let http = AuthenticatedClient::new(
                Arc::clone(&credentials),
                with_plain_errors(tls.to_cluster(describe_errors.service(tunnel))),
            );
            Client::new(service.service(http), namespace)
        }
        Some(Proxy::Socks(proxy, uri)) => {
            let describe_errors = ServiceBuilder::new().map_err(describe_errors_of(&uri));
            let mut socks = SocksV5::new(uri, tcp_connector());
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            let http = AuthenticatedClient::new(
                Arc::clone(&credentials),
                with_plain_errors(tls.to_cluster(describe_errors.service(socks))),
            );
            Client::new(service.service(http), namespace)
        }
    };
    Ok((client, credentials))
}

/// How connections are encrypted.
struct Tls {
    config: ClientConfig,
    /// The name in the cluster's certificate, if it is not that of the address.
    server_name: Option<ServerName<'static>>,
}

impl Tls {
    fn new(config: &Config, credentials: &Credentials) -> Result<Self> {
        let server_name = match &config.tls_server_name {
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|_invalid| {
                build_error("tls-server-name in the kubeconfig is not a DNS name")
            })?),
            None => None,
        };
        let mut tls = config
            .rustls_client_config()
            .map_err(|error| build_error(first_line(&error)))?;
        tls.client_auth_cert_resolver = credentials.certificate_resolver();
        if credentials.may_have_certificate() {
            // A resumed session has the client certificate of the first one, which may have expired.
            tls.resumption = Resumption::disabled();
        }
        Ok(Self {
            config: tls,
            server_name,
        })
    }

    fn to_cluster<C>(&self, connector: C) -> HttpsConnector<C> {
        let builder = HttpsConnectorBuilder::new()
            .with_tls_config(self.config.clone())
            .https_or_http();
        let builder = match &self.server_name {
            Some(name) => {
                builder.with_server_name_resolver(FixedServerNameResolver::new(name.clone()))
            }
            None => builder,
        };
        builder.enable_http1().wrap_connector(connector)
    }

    fn to_proxy<C>(&self, connector: C) -> HttpsConnector<C> {
        HttpsConnectorBuilder::new()
            .with_tls_config(self.config.clone())
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector)
    }
}

/// kube's own connector leaves `TCP_NODELAY` off. A command over a port-forward then takes 44 ms instead
/// of 3 ms, because each small packet waits for the acknowledgement of the last.
fn tcp_connector() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT_TIMEOUT));
    tcp
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::ExecConfig;
    use std::time::Instant;

    #[tokio::test]
    async fn a_slow_credential_program_is_named_and_blocks_no_one() {
        crate::api::cluster::install_crypto_provider();
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info.exec = Some(ExecConfig {
            api_version: Some("client.authentication.k8s.io/v1".into()),
            command: Some("sleep".into()),
            args: Some(vec!["2".into()]),
            ..ExecConfig::default()
        });
        let started = Instant::now();
        let others = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            started.elapsed()
        };
        let (client, others) = tokio::join!(
            build_client(config, None, Duration::from_millis(500)),
            others
        );
        assert!(
            others < Duration::from_millis(400),
            "the only thread of this runtime is free: {others:?}"
        );
        let error = client.err().unwrap();
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
        let text = error.to_string();
        assert!(
            text.contains("sleep, the credential program of the kubeconfig")
                && text.contains("500ms"),
            "{text}"
        );
    }
}
