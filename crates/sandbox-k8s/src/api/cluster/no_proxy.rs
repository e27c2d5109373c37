//! Decides which hosts are reached without a proxy, by Go's rules, which kubectl uses.
//! <https://pkg.go.dev/golang.org/x/net/http/httpproxy#Config>

use std::net::IpAddr;

/// Whether a list such as `NO_PROXY` contains this host, or the host is the local machine.
pub(super) fn matches_no_proxy(list: &str, host: &str, port: u16) -> bool {
    let host = host.to_ascii_lowercase();
    let host = strip_brackets(&host);
    let ip = host.parse().ok();
    if host == "localhost" || ip.is_some_and(|ip: IpAddr| ip.to_canonical().is_loopback()) {
        return true;
    }
    let list = list.to_ascii_lowercase();
    list.split(',')
        .map(str::trim)
        .any(|entry| matches_entry(entry, host, ip, port))
}

fn matches_entry(entry: &str, host: &str, ip: Option<IpAddr>, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = parse_network(entry) {
        return ip.is_some_and(|ip| contains(network, bits, ip));
    }
    let (name, only) = split_port(entry);
    if only.is_some_and(|only| only.parse() != Ok(port)) {
        return false;
    }
    match (name.parse::<IpAddr>(), ip) {
        (Ok(named), Some(ip)) => named.to_canonical() == ip.to_canonical(),
        (Ok(_), None) | (Err(_), Some(_)) => false,
        (Err(_), None) => is_within(host, name),
    }
}

/// `example.com` matches itself and its subdomains; `.example.com` and `*.example.com` match only
/// subdomains.
fn is_within(host: &str, name: &str) -> bool {
    let name = name
        .strip_prefix('*')
        .filter(|rest| rest.starts_with('.'))
        .unwrap_or(name);
    let below = |domain: &str| {
        host.strip_suffix(domain)
            .is_some_and(|rest| rest.ends_with('.'))
    };
    match name.strip_prefix('.') {
        Some(domain) => !domain.is_empty() && below(domain),
        None => !name.is_empty() && (host == name || below(name)),
    }
}

/// Parses a network such as `10.0.0.0/8`.
fn parse_network(entry: &str) -> Option<(IpAddr, u32)> {
    let (address, bits) = entry.split_once('/')?;
    let address: IpAddr = address.parse().ok()?;
    let bits: u32 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then_some((address, bits))
}

fn contains(network: IpAddr, bits: u32, ip: IpAddr) -> bool {
    let same = |a: u128, b: u128, width: u32| bits == 0 || (a ^ b) >> (width - bits) == 0;
    match (network, ip.to_canonical()) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(u32::from(a).into(), u32::from(b).into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.into(), b.into(), 128),
        _ => false,
    }
}

/// Splits an entry into a name and the port that it is limited to.
fn split_port(entry: &str) -> (&str, Option<&str>) {
    match entry.rsplit_once(':') {
        Some((name, port)) if name.ends_with(']') || !name.contains(':') => {
            (strip_brackets(name), Some(port))
        }
        _ => (strip_brackets(entry), None),
    }
}

fn strip_brackets(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|host| host.strip_suffix(']'))
        .unwrap_or(host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_match_as_in_kubectl() {
        for (list, host, port, expected) in [
            ("", "api.example.com", 443, false),
            ("", "localhost", 6443, true),
            ("", "127.0.0.1", 6443, true),
            ("", "127.8.9.1", 6443, true),
            ("", "[::1]", 6443, true),
            ("*", "api.example.com", 443, true),
            ("a.b, *", "api.example.com", 443, true),
            ("example.com", "api.example.com", 443, true),
            ("example.com", "example.com", 443, true),
            ("example.com", "badexample.com", 443, false),
            (".example.com", "api.example.com", 443, true),
            (".example.com", "example.com", 443, false),
            ("*.example.com", "api.example.com", 443, true),
            ("*.example.com", "example.com", 443, false),
            ("*example.com", "api.example.com", 443, false),
            ("EXAMPLE.com", "API.Example.COM", 443, true),
            ("x.y , example.com ,,", "api.example.com", 443, true),
            ("example.com:6443", "api.example.com", 6443, true),
            ("example.com:6443", "api.example.com", 443, false),
            (".example.com:443", "api.example.com", 443, true),
            ("10.1.2.3", "10.1.2.3", 443, true),
            ("10.1.2.3:6443", "10.1.2.3", 443, false),
            ("10.1.2.3:443", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "10.1.2.3", 443, true),
            ("10.0.0.0/8", "11.1.2.3", 443, false),
            ("0.0.0.0/0", "11.1.2.3", 443, true),
            ("10.0.0.0/33", "10.0.0.0", 443, false),
            ("10.0.0.0/8", "api.example.com", 443, false),
            ("fd00::/8", "[fd12::1]", 443, true),
            ("fd00::/8", "[fe12::1]", 443, false),
            ("[fd12::1]:443", "[fd12::1]", 443, true),
            ("[fd12::1]:444", "[fd12::1]", 443, false),
            ("fd12::1", "[fd12::1]", 443, true),
            ("2.3", "10.1.2.3", 443, false),
            ("., :443, .", "api.example.com", 443, false),
        ] {
            assert_eq!(
                matches_no_proxy(list, host, port),
                expected,
                "{list:?} {host} {port}"
            );
        }
    }
}
