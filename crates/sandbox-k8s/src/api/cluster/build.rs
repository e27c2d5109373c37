//! Builds the HTTP client: TLS, credentials, and the proxy.

use std::time::Duration;

use hyper_util::client::legacy::Client as Http;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use kube::client::{Body, ConfigExt};
use kube::{Client, Config};
use sandbox_core::{Error, Result};
use tokio::runtime::Handle;
use tokio::sync::oneshot;
use tower::{BoxError, ServiceBuilder};

use super::errors::{credential_program, describe_auth_error, first_line};
use super::proxy::Proxy;

/// Timeout of a TCP connection to the API server or its proxy.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Builds the client, which runs the credential program of the kubeconfig. That call blocks and may prompt
/// for a password, so it gets a thread of its own. No runtime waits for this thread when it shuts down, and
/// the thread is abandoned after `limit`.
pub(super) async fn build_client(
    config: Config,
    proxy: Option<Proxy>,
    limit: Duration,
) -> Result<Client> {
    let program = credential_program(&config.auth_info);
    let (sender, receiver) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name("kubeconfig".into())
        .spawn(move || {
            let _entered = runtime.enter();
            // Sending fails if the caller has given up.
            drop(sender.send(build(config, proxy)));
        });
    let build_error = |reason: String| Error::Config {
        message: format!("cannot create a client for the cluster: {reason}"),
    };
    thread.map_err(|error| build_error(error.to_string()))?;
    match tokio::time::timeout(limit, receiver).await {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(kube::Error::Auth(error)))) => Err(Error::Config {
            message: describe_auth_error(&error),
        }),
        Ok(Ok(Err(error))) => Err(build_error(first_line(&error))),
        Ok(Err(_)) => Err(build_error("kube panicked".into())),
        Err(_elapsed) => Err(match program {
            Some(program) => Error::Config {
                message: format!(
                    "the cluster's credentials: {program}, the credential program of the kubeconfig, has not \
                     finished within {limit:?}; run kubectl once, log in if it asks for that, and retry"
                ),
            },
            None => build_error(format!(
                "the files of the kubeconfig could not be read within {limit:?}"
            )),
        }),
    }
}

fn build(config: Config, proxy: Option<Proxy>) -> Result<Client, kube::Error> {
    let auth = config.auth_layer()?;
    let tls = match auth {
        // The program has returned a token; it does not have to run again to look for a certificate.
        Some(_) => without_program(&config),
        None => config.clone(),
    };
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(auth)
        .layer(config.extra_headers_layer()?)
        .map_err(BoxError::from);
    let namespace = config.default_namespace;
    Ok(match proxy {
        None => {
            let connector = tls.rustls_https_connector_with_connector(tcp_connector())?;
            Client::new(service.service(http_client(connector)), namespace)
        }
        Some(Proxy::Tunnel(proxy)) => {
            // `tls_server_name` is the name in the cluster's certificate, not in that of the proxy.
            let mut to_proxy = tls.clone();
            to_proxy.tls_server_name = None;
            let to_proxy = to_proxy.rustls_https_connector_with_connector(tcp_connector())?;
            let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
            if let Some(password) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(password.clone());
            }
            let connector = tls.rustls_https_connector_with_connector(tunnel)?;
            Client::new(service.service(http_client(connector)), namespace)
        }
        Some(Proxy::Socks(proxy, uri)) => {
            let mut socks = SocksV5::new(uri, tcp_connector());
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            let connector = tls.rustls_https_connector_with_connector(socks)?;
            Client::new(service.service(http_client(connector)), namespace)
        }
    })
}

fn without_program(config: &Config) -> Config {
    let mut config = config.clone();
    config.auth_info.exec = None;
    config.auth_info.auth_provider = None;
    config
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

fn http_client<C: Connect + Clone>(connector: C) -> Http<C, Body> {
    Http::builder(TokioExecutor::new()).build(connector)
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
