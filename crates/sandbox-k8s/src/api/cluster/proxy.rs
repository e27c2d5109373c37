//! Finds the proxy to the API server that kubectl would use.

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use sandbox_core::{Error, Result};

use super::no_proxy::matches_no_proxy;

/// A proxy, with its credentials.
#[derive(Debug)]
pub(super) enum Proxy {
    /// An `http` or `https` proxy, which is asked for a tunnel.
    Tunnel(Intercept),
    /// A SOCKS5 proxy, with its address and port.
    Socks(Intercept, Uri),
}

/// The address of a proxy, and the setting that it comes from.
pub(super) struct ProxySource {
    name: &'static str,
    address: String,
}

/// The port of a SOCKS proxy whose address has none.
const DEFAULT_SOCKS_PORT: u16 = 1080;

/// Finds the address of the proxy: in the cluster's entry in the kubeconfig, otherwise in the environment.
pub(super) fn find_source(
    cluster: &Uri,
    entry: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<ProxySource> {
    if let Some(address) = entry.filter(|address| !address.is_empty()) {
        return Some(ProxySource {
            name: ENTRY,
            address: address.to_owned(),
        });
    }
    let names = match cluster.scheme_str() {
        Some("http") => ["HTTP_PROXY", "http_proxy"],
        _ => ["HTTPS_PROXY", "https_proxy"],
    };
    let found = names
        .into_iter()
        .find_map(|name| Some((name, variable(name)?)));
    found.map(|(name, address)| ProxySource { name, address })
}

const ENTRY: &str = "proxy-url in the kubeconfig";

/// Returns the proxy to a cluster; `None` if it is reached without one.
///
/// kube reads the same settings, but compares `NO_PROXY` with the proxy and not with the cluster.
pub(super) fn resolve_proxy(
    cluster: &Uri,
    source: Option<&ProxySource>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>> {
    let Some(source) = source else {
        return Ok(None);
    };
    let is_excepted = || {
        let list = variable("NO_PROXY")
            .or_else(|| variable("no_proxy"))
            .unwrap_or_default();
        let default_port = if cluster.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let port = cluster.port_u16().unwrap_or(default_port);
        matches_no_proxy(&list, cluster.host().unwrap_or_default(), port)
    };
    // `proxy-url` in the kubeconfig is for this cluster only, so `NO_PROXY` does not override it.
    if source.name != ENTRY && is_excepted() {
        return Ok(None);
    }
    parse(&source.address)
        .map(Some)
        .ok_or_else(|| source.invalid_address_error())
}

impl ProxySource {
    /// The message does not repeat the address, which may contain a password.
    pub(super) fn invalid_address_error(&self) -> Error {
        let name = self.name;
        let alternative = match name {
            ENTRY => "",
            _ => ", or name the API server's host in NO_PROXY",
        };
        Error::Config {
            message: format!(
                "{name} is no valid proxy address: use one such as http://proxy.example.com:3128, with http, \
                 https or socks5{alternative}"
            ),
        }
    }
}

fn parse(address: &str) -> Option<Proxy> {
    // An address without a scheme is an HTTP proxy, as in Go.
    let matcher = Matcher::builder().all(address.trim()).build();
    let found = matcher.intercept(&Uri::from_static("https://cluster"))?;
    if !has_valid_port(found.uri()) {
        return None;
    }
    match found.uri().scheme_str()? {
        "http" | "https" => Some(Proxy::Tunnel(found)),
        "socks5" | "socks5h" => {
            let uri = with_port(found.uri(), DEFAULT_SOCKS_PORT)?;
            Some(Proxy::Socks(found, uri))
        }
        _ => None,
    }
}

/// Returns `false` for a port above 65535, which `http` takes for none.
fn has_valid_port(uri: &Uri) -> bool {
    let after_host = uri.authority().map_or("", |authority| {
        let address = authority.as_str();
        let host = authority.host();
        address
            .rfind(host)
            .map_or("", |at| &address[at + host.len()..])
    });
    matches!(after_host, "" | ":") || uri.port_u16().is_some()
}

fn with_port(uri: &Uri, default: u16) -> Option<Uri> {
    let host = uri.host()?;
    let port = uri.port_u16().unwrap_or(default);
    format!("socks5://{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the address of the proxy that is used.
    fn resolve(cluster: &str, entry: Option<&str>, env: &[(&str, &str)]) -> Result<Option<String>> {
        let cluster: Uri = cluster.parse().unwrap();
        let variable = |name: &str| {
            env.iter()
                .find(|(key, _)| *key == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let source = find_source(&cluster, entry, variable);
        resolve_proxy(&cluster, source.as_ref(), variable).map(|proxy| {
            proxy.map(|proxy| match proxy {
                Proxy::Tunnel(to) => to.uri().to_string(),
                Proxy::Socks(_, uri) => uri.to_string(),
            })
        })
    }

    #[test]
    fn the_environment_sets_a_proxy_and_its_exceptions() {
        let proxy = ("HTTPS_PROXY", "http://p:3128");
        let api = "https://api.example.com:6443";
        for (cluster, env, expected) in [
            (api, vec![], None),
            (api, vec![proxy], Some("http://p:3128/")),
            (api, vec![("https_proxy", "p:3128")], Some("http://p:3128/")),
            (api, vec![proxy, ("NO_PROXY", "example.com")], None),
            (api, vec![proxy, ("no_proxy", "api.example.com:6443")], None),
            // `NO_PROXY` names clusters, not proxies.
            (api, vec![proxy, ("NO_PROXY", "p")], Some("http://p:3128/")),
            (api, vec![("HTTP_PROXY", "http://p:3128")], None),
            (
                "http://api.example.com",
                vec![("HTTP_PROXY", "http://p:3128")],
                Some("http://p:3128/"),
            ),
            ("http://api.example.com", vec![proxy], None),
            ("https://127.0.0.1:6443", vec![proxy], None),
            ("https://[::1]:6443", vec![proxy], None),
            (
                api,
                vec![("HTTPS_PROXY", "socks5://u:w@p")],
                Some("socks5://p:1080/"),
            ),
            (
                api,
                vec![("HTTPS_PROXY", "https://u:w@p")],
                Some("https://p/"),
            ),
            (api, vec![("HTTPS_PROXY", "::"), ("NO_PROXY", "*")], None),
        ] {
            assert_eq!(
                resolve(cluster, None, &env).unwrap().as_deref(),
                expected,
                "{cluster} {env:?}"
            );
        }
    }

    #[test]
    fn proxy_url_of_the_kubeconfig_has_precedence() {
        let env = [("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", "*")];
        let entry = Some("socks5://q:1");
        assert_eq!(
            resolve("https://a", entry, &env).unwrap().as_deref(),
            Some("socks5://q:1/")
        );
        assert_eq!(
            resolve("https://127.0.0.1", entry, &env)
                .unwrap()
                .as_deref(),
            Some("socks5://q:1/")
        );
        assert_eq!(resolve("https://a", Some(""), &env).unwrap(), None);
    }

    #[test]
    fn an_invalid_address_is_reported_by_its_variable_only() {
        for address in [
            "http://u:secret@",
            "http://u:secret@a b",
            "ftp://u:secret@p",
            "socks4://u:secret@p",
            "http://u:secret@p:65536",
            "socks5://u:secret@[::1]:70000",
        ] {
            for (name, entry, env) in [
                ("HTTPS_PROXY", None, vec![("HTTPS_PROXY", address)]),
                ("https_proxy", None, vec![("https_proxy", address)]),
                ("proxy-url in the kubeconfig", Some(address), vec![]),
            ] {
                let error = resolve("https://a", entry, &env).unwrap_err();
                assert!(matches!(error, Error::Config { .. }), "{error:?}");
                assert!(error.to_string().contains(name), "{error}");
                assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            }
        }
    }
}
