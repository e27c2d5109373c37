//! The client itself: how requests get there.

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

use super::errors::{credentials, first_line, program};
use super::proxy::Proxy;

/// How long the API server's address may take to accept a connection.
const CONNECT: Duration = Duration::from_secs(10);

/// Makes the client, which runs the program that a kubeconfig names for credentials. That blocks,
/// and may ask somebody for a password: it has a thread of its own, that no runtime waits for at
/// its end, and which is left to itself after this long.
pub(super) async fn client(
    config: Config,
    proxy: Option<Proxy>,
    limit: Duration,
) -> Result<Client> {
    let program = program(&config.auth_info);
    let (tell, made) = oneshot::channel();
    let runtime = Handle::current();
    let thread = std::thread::Builder::new()
        .name("kubeconfig".into())
        .spawn(move || {
            let _entered = runtime.enter();
            // Nobody waits any more if it fails.
            drop(tell.send(build(config, proxy)));
        });
    let unmade = |why: String| Error::Config {
        message: format!("no client can be made for the cluster: {why}"),
    };
    thread.map_err(|error| unmade(error.to_string()))?;
    match tokio::time::timeout(limit, made).await {
        Ok(Ok(Ok(client))) => Ok(client),
        Ok(Ok(Err(kube::Error::Auth(error)))) => Err(Error::Config {
            message: credentials(&error),
        }),
        Ok(Ok(Err(error))) => Err(unmade(first_line(&error))),
        Ok(Err(_)) => Err(unmade("kube has panicked".into())),
        Err(_elapsed) => Err(match program {
            Some(program) => Error::Config {
                message: format!(
                    "the cluster's credentials: {program}, the program of the kubeconfig that gives them, has not \
                     answered within {limit:?}; run kubectl once, log in if it asks for that, and try again"
                ),
            },
            None => unmade(format!("its files could not be read within {limit:?}")),
        }),
    }
}

fn build(config: Config, proxy: Option<Proxy>) -> Result<Client, kube::Error> {
    let auth = config.auth_layer()?;
    let tls = match auth {
        // It has told its token, and need not be run again to see whether it gives a certificate.
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
            let connector = tls.rustls_https_connector_with_connector(tcp())?;
            Client::new(service.service(over(connector)), namespace)
        }
        Some(Proxy::Tunnel(proxy)) => {
            // The name that the cluster's certificate has is not the proxy's.
            let mut to_proxy = tls.clone();
            to_proxy.tls_server_name = None;
            let to_proxy = to_proxy.rustls_https_connector_with_connector(tcp())?;
            let mut tunnel = Tunnel::new(proxy.uri().clone(), to_proxy);
            if let Some(password) = proxy.basic_auth() {
                tunnel = tunnel.with_auth(password.clone());
            }
            let connector = tls.rustls_https_connector_with_connector(tunnel)?;
            Client::new(service.service(over(connector)), namespace)
        }
        Some(Proxy::Socks(proxy, uri)) => {
            let mut socks = SocksV5::new(uri, tcp());
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            let connector = tls.rustls_https_connector_with_connector(socks)?;
            Client::new(service.service(over(connector)), namespace)
        }
    })
}

fn without_program(config: &Config) -> Config {
    let mut config = config.clone();
    (config.auth_info.exec, config.auth_info.auth_provider) = (None, None);
    config
}

/// kube's own connector leaves `TCP_NODELAY` off, and a command over a port-forward then takes
/// 44 ms instead of 3: each small packet waits for the last to be acknowledged.
fn tcp() -> HttpConnector {
    let mut tcp = HttpConnector::new();
    tcp.enforce_http(false);
    tcp.set_nodelay(true);
    tcp.set_connect_timeout(Some(CONNECT));
    tcp
}

fn over<C: Connect + Clone>(connector: C) -> Http<C, Body> {
    Http::builder(TokioExecutor::new()).build(connector)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kube::config::ExecConfig;
    use std::time::Instant;

    #[tokio::test]
    async fn a_program_that_does_not_answer_is_named_and_holds_nobody_up() {
        super::super::choose_crypto();
        let mut config = Config::new("https://127.0.0.1:1".parse().unwrap());
        config.auth_info.exec = Some(ExecConfig {
            command: Some("sleep".into()),
            args: Some(vec!["2".into()]),
            ..ExecConfig::default()
        });
        let begun = Instant::now();
        let others = async {
            tokio::time::sleep(Duration::from_millis(10)).await;
            begun.elapsed()
        };
        let (made, others) = tokio::join!(client(config, None, Duration::from_millis(500)), others);
        assert!(
            others < Duration::from_millis(400),
            "the only thread of this runtime is free: {others:?}"
        );
        let error = made.err().unwrap();
        assert!(matches!(error, Error::Config { .. }), "{error:?}");
        let said = error.to_string();
        assert!(
            said.contains("sleep, the program of the kubeconfig") && said.contains("500ms"),
            "{said}"
        );
    }
}
