//! Where the API server is, as the cluster says and not a sandbox.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use sandbox_core::{Deadline, Result};

use crate::backend::shared::Shared;

/// How long a name server may take for the API server's name.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// The most addresses that are taken from one source.
const MAX_ADDRESSES: usize = 4;
/// The name by which Pods know the API server.
const NAME_IN_CLUSTER: &str = "kubernetes.default.svc";

/// The addresses of the API server.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ControlPlane {
    /// Those of its Service, which every Pod reaches that no policy keeps from it.
    pub(super) service: Vec<SocketAddr>,
    /// Those that it names itself, and those that this client uses. They may be of another network than that of Pods.
    pub(super) others: Vec<SocketAddr>,
}

impl ControlPlane {
    /// All addresses, without their ports.
    pub(super) fn addresses(&self) -> Vec<IpAddr> {
        let mut all: Vec<IpAddr> = self.all().map(|address| address.ip()).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    pub(super) fn all(&self) -> impl Iterator<Item = &SocketAddr> {
        self.service.iter().chain(&self.others)
    }
}

/// Returns the addresses of the API server. They are asked for until the API server has answered.
///
/// # Errors
///
/// If it does not answer.
pub(super) async fn find(shared: &Shared, deadline: Deadline) -> Result<&ControlPlane> {
    shared
        .control_plane
        .get_or_try_init(|| request(shared, deadline))
        .await
}

async fn request(shared: &Shared, deadline: Deadline) -> Result<ControlPlane> {
    let api = shared.api();
    let server = shared.api_server.get().and_then(|url| split_url(url));
    let (service, advertised, own) = tokio::join!(
        api.api_service(deadline),
        api.advertised_addresses(deadline),
        resolve(server.as_ref()),
    );
    let mut service = service?.as_ref().map(addresses_of).unwrap_or_default();
    if service.is_empty() {
        service = read_own_variables(server.as_ref(), |name| std::env::var(name).ok());
    }
    let mut others: Vec<SocketAddr> = advertised?
        .iter()
        .filter_map(|text| text.parse().ok())
        .take(MAX_ADDRESSES)
        .chain(own)
        .filter(|address| is_reachable_for_others(address) && !service.contains(address))
        .collect();
    others.sort_unstable();
    others.dedup();
    Ok(ControlPlane { service, others })
}

/// Returns the addresses and ports of the Service.
fn addresses_of(service: &Service) -> Vec<SocketAddr> {
    let Some(spec) = &service.spec else {
        return Vec::new();
    };
    let mut addresses: Vec<IpAddr> = spec
        .cluster_ips
        .iter()
        .flatten()
        .chain(&spec.cluster_ip)
        .filter_map(|text| text.parse().ok())
        .collect();
    addresses.sort_unstable();
    addresses.dedup();
    let ports = spec.ports.iter().flatten();
    let ports: Vec<u16> = ports
        .filter_map(|port| u16::try_from(port.port).ok())
        .collect();
    let all = addresses.into_iter().flat_map(|address| {
        ports
            .iter()
            .map(move |port| SocketAddr::new(address, *port))
    });
    all.filter(is_reachable_for_others)
        .take(MAX_ADDRESSES)
        .collect()
}

/// Returns the address of the Service as the kubelet has given it to this program, if it runs in a Pod of the cluster that
/// the backend uses.
fn read_own_variables(
    server: Option<&(String, u16)>,
    variable: impl Fn(&str) -> Option<String>,
) -> Vec<SocketAddr> {
    let host = variable("KUBERNETES_SERVICE_HOST");
    let port = variable("KUBERNETES_SERVICE_PORT");
    let found = host.zip(port).zip(server);
    let Some(((host, port), (used, _))) = found else {
        return Vec::new();
    };
    let is_same = *used == host
        || used
            .strip_prefix(NAME_IN_CLUSTER)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    match (host.parse(), port.parse()) {
        (Ok(address), Ok(port)) if is_same => vec![SocketAddr::new(address, port)],
        (Ok(_) | Err(_), _) => Vec::new(),
    }
}

/// Splits the URL of the API server into host and port.
fn split_url(url: &str) -> Option<(String, u16)> {
    let uri: http::Uri = url.parse().ok()?;
    let port = match (uri.port_u16(), uri.scheme_str()) {
        (Some(port), _) => port,
        (None, Some("http")) => 80,
        (None, _) => 443,
    };
    let host = uri.host()?.trim_start_matches('[').trim_end_matches(']');
    Some((host.to_owned(), port))
}

/// Resolves the API server's name as this client does.
async fn resolve(server: Option<&(String, u16)>) -> Vec<SocketAddr> {
    let Some((host, port)) = server else {
        return Vec::new();
    };
    let lookup = tokio::net::lookup_host((host.as_str(), *port));
    match tokio::time::timeout(RESOLVE_TIMEOUT, lookup).await {
        Ok(Ok(found)) => found.take(MAX_ADDRESSES).collect(),
        Ok(Err(error)) => {
            tracing::debug!(%error, host, "the API server's name cannot be resolved here");
            Vec::new()
        }
        Err(_elapsed) => Vec::new(),
    }
}

/// Whether an address means the same from inside a sandbox.
fn is_reachable_for_others(address: &SocketAddr) -> bool {
    !address.ip().is_loopback() && !address.ip().is_unspecified()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn the_service_has_an_address_for_each_family() {
        let found = |spec: Value| {
            let service = serde_json::from_value(json!({"spec": spec})).unwrap();
            let found = addresses_of(&service);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let port = json!([{"name": "https", "port": 443, "targetPort": 6443}]);
        assert_eq!(
            found(
                json!({"clusterIP": "10.96.0.1", "clusterIPs": ["10.96.0.1", "fd00::1"], "ports": port})
            ),
            ["10.96.0.1:443", "[fd00::1]:443"]
        );
        // Kubernetes before 1.20.
        assert_eq!(
            found(json!({"clusterIP": "10.96.0.1", "ports": port})),
            ["10.96.0.1:443"]
        );
        for nothing in [
            json!({"clusterIP": "None", "ports": port}),
            json!({"clusterIP": "10.96.0.1"}),
            json!({"clusterIP": "127.0.0.1", "ports": port}),
            json!({"clusterIP": "10.96.0.1", "ports": [{"port": -1}]}),
        ] {
            assert_eq!(found(nothing.clone()), [""; 0], "{nothing}");
        }
    }

    #[test]
    fn the_variables_of_a_pod_count_only_for_its_own_cluster() {
        let variables = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("10.96.0.1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("443".to_owned()),
            _ => None,
        };
        let found = |url: &str| read_own_variables(split_url(url).as_ref(), variables);
        let expected = ["10.96.0.1:443".parse().unwrap()];
        for own in [
            "https://10.96.0.1",
            "https://10.96.0.1:443/",
            "https://kubernetes.default.svc/",
            "https://kubernetes.default.svc.cluster.local:443",
        ] {
            assert_eq!(found(own), expected, "{own}");
        }
        for other in [
            "https://api.example.com:6443",
            "https://kubernetes.default.svcs",
            "https://10.0.0.7:6443",
            "",
        ] {
            assert_eq!(found(other), [], "{other}");
        }
        let server = split_url("https://10.96.0.1");
        assert_eq!(read_own_variables(server.as_ref(), |_| None), []);
    }

    #[test]
    fn urls_are_split() {
        let split = |url: &str| split_url(url).unwrap();
        assert_eq!(split("https://a.example/x"), ("a.example".into(), 443));
        assert_eq!(split("http://[fd00::1]:80"), ("fd00::1".into(), 80));
        assert_eq!(split_url("/"), None);
    }
}
