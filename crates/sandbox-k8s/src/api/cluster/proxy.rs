//! Which proxy leads to the API server: the one that kubectl would take.

use http::Uri;
use hyper_util::client::proxy::matcher::{Intercept, Matcher};
use sandbox_core::{Error, Result};

use super::no_proxy::excepts;

/// A proxy, and what it wants to know of us.
#[derive(Debug)]
pub(super) enum Proxy {
    /// `http` and `https`.
    Tunnel(Intercept),
    Socks(Intercept, Uri),
}

/// Where the address of a proxy was found.
pub(super) struct Source {
    name: &'static str,
    address: String,
}

/// The port of a SOCKS proxy that names none.
const SOCKS_PORT: u16 = 1080;

/// The place that says which proxy it is: the cluster's entry in the kubeconfig, else the
/// environment.
pub(super) fn source(
    cluster: &Uri,
    entry: Option<&str>,
    variable: impl Fn(&str) -> Option<String>,
) -> Option<Source> {
    if let Some(address) = entry.filter(|address| !address.is_empty()) {
        return Some(Source {
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
    found.map(|(name, address)| Source { name, address })
}

const ENTRY: &str = "proxy-url in the kubeconfig";

/// The proxy to a cluster; `None` where it is reached without one.
///
/// kube looks in the same places, but takes `NO_PROXY` to be about the proxy and not about the
/// cluster.
pub(super) fn of(
    cluster: &Uri,
    source: Option<&Source>,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>> {
    let Some(source) = source else {
        return Ok(None);
    };
    let excepted = || {
        let list = variable("NO_PROXY")
            .or_else(|| variable("no_proxy"))
            .unwrap_or_default();
        let usual = if cluster.scheme_str() == Some("http") {
            80
        } else {
            443
        };
        let (host, port) = (
            cluster.host().unwrap_or_default(),
            cluster.port_u16().unwrap_or(usual),
        );
        excepts(&list, host, port)
    };
    // What the kubeconfig says of one cluster is meant for that cluster.
    if source.name != ENTRY && excepted() {
        return Ok(None);
    }
    parse(&source.address)
        .map(Some)
        .ok_or_else(|| source.unusable())
}

impl Source {
    /// The address is not repeated: there may be a password in it.
    pub(super) fn unusable(&self) -> Error {
        let name = self.name;
        let instead = match name {
            ENTRY => "",
            _ => ", or name the API server's host in NO_PROXY",
        };
        Error::Config {
            message: format!(
                "{name} is no address of a proxy: it has to be one such as http://proxy.example.com:3128, with \
                 http, https or socks5{instead}"
            ),
        }
    }
}

fn parse(address: &str) -> Option<Proxy> {
    // Without a scheme it is an HTTP proxy, to Go as to this.
    let found = Matcher::builder().all(address.trim()).build();
    let found = found.intercept(&Uri::from_static("https://cluster"))?;
    match found.uri().scheme_str()? {
        "http" | "https" => Some(Proxy::Tunnel(found)),
        "socks5" | "socks5h" => {
            let uri = with_port(found.uri(), SOCKS_PORT)?;
            Some(Proxy::Socks(found, uri))
        }
        _ => None,
    }
}

fn with_port(uri: &Uri, usual: u16) -> Option<Uri> {
    let (host, port) = (uri.host()?, uri.port_u16().unwrap_or(usual));
    format!("socks5://{host}:{port}").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As what, and where to.
    fn found(cluster: &str, entry: Option<&str>, env: &[(&str, &str)]) -> Result<Option<String>> {
        let cluster: Uri = cluster.parse().unwrap();
        let variable = |name: &str| {
            env.iter()
                .find(|(known, _)| *known == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let source = source(&cluster, entry, variable);
        of(&cluster, source.as_ref(), variable).map(|proxy| {
            proxy.map(|proxy| match proxy {
                Proxy::Tunnel(to) => to.uri().to_string(),
                Proxy::Socks(_, uri) => uri.to_string(),
            })
        })
    }

    #[test]
    fn the_environment_names_a_proxy_and_who_needs_none() {
        let proxy = ("HTTPS_PROXY", "http://p:3128");
        let api = "https://api.example.com:6443";
        for (cluster, env, expected) in [
            (api, vec![], None),
            (api, vec![proxy], Some("http://p:3128/")),
            (api, vec![("https_proxy", "p:3128")], Some("http://p:3128/")),
            (api, vec![proxy, ("NO_PROXY", "example.com")], None),
            (api, vec![proxy, ("no_proxy", "api.example.com:6443")], None),
            // It is the cluster that is named there, and not the proxy.
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
                found(cluster, None, &env).unwrap().as_deref(),
                expected,
                "{cluster} {env:?}"
            );
        }
    }

    #[test]
    fn what_the_kubeconfig_says_of_a_cluster_holds_for_it() {
        let env = [("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", "*")];
        let entry = Some("socks5://q:1");
        assert_eq!(
            found("https://a", entry, &env).unwrap().as_deref(),
            Some("socks5://q:1/")
        );
        assert_eq!(
            found("https://127.0.0.1", entry, &env).unwrap().as_deref(),
            Some("socks5://q:1/")
        );
        assert_eq!(found("https://a", Some(""), &env).unwrap(), None);
    }

    #[test]
    fn a_bad_address_is_told_by_the_name_of_its_variable_alone() {
        for address in [
            "http://u:secret@",
            "http://u:secret@a b",
            "ftp://u:secret@p",
            "socks4://u:secret@p",
        ] {
            for (name, entry, env) in [
                ("HTTPS_PROXY", None, vec![("HTTPS_PROXY", address)]),
                ("https_proxy", None, vec![("https_proxy", address)]),
                ("proxy-url in the kubeconfig", Some(address), vec![]),
            ] {
                let error = found("https://a", entry, &env).unwrap_err();
                assert!(matches!(error, Error::Config { .. }), "{error:?}");
                assert!(error.to_string().contains(name), "{error}");
                assert!(!format!("{error:?}").contains("secret"), "{error:?}");
            }
        }
    }
}
