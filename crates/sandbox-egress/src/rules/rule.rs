//! One rule.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use sandbox_core::{Error, Result};

use super::name::{HostName, parse_port, split_port};

/// The ports that an allowing rule without a port is for.
const USUAL_PORTS: [u16; 2] = [80, 443];

const FORMS: &str = "write HOST, *.DOMAIN, ADDRESS or NETWORK/PREFIX, and :PORT or :* if it is not for ports 80 and 443";

/// Hosts and ports that are allowed or denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Rule {
    hosts: Hosts,
    ports: Ports,
    /// How it was written.
    pub(super) text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    AnyName,
    Name(HostName),
    /// All names below this one.
    Below(HostName),
    Network(IpNet),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Ports {
    /// None was written.
    Unnamed,
    Any,
    One(u16),
}

/// Whether a rule allows or denies. Without a port, it allows only the usual ports, and denies all.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    Allow,
    Deny,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] with what can be written.
    pub(super) fn parse(text: &str) -> Result<Self> {
        let invalid = |reason: &str| Error::invalid("rule", text, format!("it {reason}; {FORMS}"));
        let (hosts, port) = if let Some(network) = parse_bare_v6(text) {
            (network.map(Hosts::Network), None)
        } else {
            let (host, port) = split_port(text).map_err(invalid)?;
            (parse_hosts(host), port)
        };
        let ports = match port {
            None => Ports::Unnamed,
            Some("*") => Ports::Any,
            Some(port) => Ports::One(parse_port(port).map_err(invalid)?),
        };
        Ok(Self {
            hosts: hosts.map_err(|reason| invalid(&reason))?,
            ports,
            text: text.to_owned(),
        })
    }

    /// Whether it is about this name and port.
    pub(super) fn matches_name(&self, action: Action, name: &HostName, port: u16) -> bool {
        let is_name = match &self.hosts {
            Hosts::AnyName => true,
            Hosts::Name(exact) => exact == name,
            Hosts::Below(domain) => name.is_below(domain),
            Hosts::Network(_) => false,
        };
        is_name && self.matches_port(action, port)
    }

    /// Whether it is about this address and port.
    pub(super) fn matches_address(&self, action: Action, address: IpAddr, port: u16) -> bool {
        self.network()
            .is_some_and(|network| network.contains(&address))
            && self.matches_port(action, port)
    }

    /// Whether it is about every name, or about more addresses than any private network has.
    pub(super) fn is_open(&self) -> bool {
        match &self.hosts {
            Hosts::AnyName => true,
            Hosts::Name(_) | Hosts::Below(_) => false,
            // Those of private networks: 10.0.0.0/8 and fc00::/7.
            Hosts::Network(IpNet::V4(network)) => network.prefix_len() < 8,
            Hosts::Network(IpNet::V6(network)) => network.prefix_len() < 7,
        }
    }

    /// Whether it is about a network that is part of another one.
    pub(super) fn is_within(&self, other: &IpNet) -> bool {
        self.network()
            .is_some_and(|network| other.contains(network))
    }

    /// The rule for each port that it allows; itself, if it allows every port.
    pub(super) fn parts(&self) -> Vec<Self> {
        match self.ports {
            Ports::Any | Ports::One(_) => vec![self.clone()],
            Ports::Unnamed => USUAL_PORTS
                .iter()
                .map(|port| Self {
                    ports: Ports::One(*port),
                    ..self.clone()
                })
                .collect(),
        }
    }

    /// Whether it allows everything that a rule for one port, or for every port, allows.
    pub(super) fn covers(&self, part: &Self) -> bool {
        let covers_hosts = match (&self.hosts, &part.hosts) {
            (Hosts::AnyName, Hosts::AnyName | Hosts::Name(_) | Hosts::Below(_)) => true,
            (Hosts::Name(one), Hosts::Name(other)) => one == other,
            (Hosts::Below(domain), Hosts::Name(name)) => name.is_below(domain),
            (Hosts::Below(domain), Hosts::Below(other)) => {
                domain == other || other.is_below(domain)
            }
            (Hosts::Network(one), Hosts::Network(other)) => one.contains(other),
            (Hosts::Name(_) | Hosts::Below(_), Hosts::AnyName)
            | (Hosts::Name(_), Hosts::Below(_))
            | (Hosts::Network(_), Hosts::AnyName | Hosts::Name(_) | Hosts::Below(_))
            | (Hosts::AnyName | Hosts::Name(_) | Hosts::Below(_), Hosts::Network(_)) => false,
        };
        let covers_ports = match part.ports {
            Ports::One(port) => self.matches_port(Action::Allow, port),
            Ports::Any => self.ports == Ports::Any,
            Ports::Unnamed => matches!(self.ports, Ports::Any | Ports::Unnamed),
        };
        covers_hosts && covers_ports
    }

    fn network(&self) -> Option<&IpNet> {
        match &self.hosts {
            Hosts::Network(network) => Some(network),
            Hosts::AnyName | Hosts::Name(_) | Hosts::Below(_) => None,
        }
    }

    fn matches_port(&self, action: Action, port: u16) -> bool {
        match self.ports {
            Ports::Any => true,
            Ports::One(only) => only == port,
            Ports::Unnamed => action == Action::Deny || USUAL_PORTS.contains(&port),
        }
    }
}

fn parse_hosts(text: &str) -> Result<Hosts, String> {
    if text == "*" {
        return Ok(Hosts::AnyName);
    }
    if let Some(domain) = text.strip_prefix("*.") {
        return HostName::parse(domain)
            .map(Hosts::Below)
            .map_err(str::to_owned);
    }
    if let Some(inside) = text.strip_prefix('[') {
        let inside = inside.strip_suffix(']').ok_or("lacks a closing bracket")?;
        return match parse_bare_v6(inside) {
            Some(network) => network.map(Hosts::Network),
            None => Err("has no IPv6 address in its brackets".into()),
        };
    }
    if let Some((address, prefix)) = text.split_once('/') {
        let address: Ipv4Addr = address
            .parse()
            .map_err(|_| "has no address before its prefix")?;
        let network = Ipv4Net::new(address, parse_prefix(prefix)?)
            .map_err(|_| "has a prefix that is longer than 32")?;
        return check_bits(network.into()).map(Hosts::Network);
    }
    if let Ok(address) = text.parse::<Ipv4Addr>() {
        return Ok(Hosts::Network(Ipv4Net::from(address).into()));
    }
    HostName::parse(text)
        .map(Hosts::Name)
        .map_err(str::to_owned)
}

/// Reads an IPv6 address or network without brackets. It has at least two colons, so it cannot be a name with a port.
fn parse_bare_v6(text: &str) -> Option<Result<IpNet, String>> {
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: Ipv6Addr = address.parse().ok()?;
    let network = || {
        let prefix = prefix.map_or(Ok(128), parse_prefix)?;
        let network =
            Ipv6Net::new(address, prefix).map_err(|_| "has a prefix that is longer than 128")?;
        if address.to_ipv4_mapped().is_some() {
            return Err("is a mapped IPv4 address; write it as IPv4".into());
        }
        check_bits(network.into())
    };
    Some(network())
}

fn parse_prefix(text: &str) -> Result<u8, String> {
    let is_plain =
        text.bytes().all(|byte| byte.is_ascii_digit()) && (text == "0" || !text.starts_with('0'));
    match text.parse() {
        Ok(prefix) if is_plain => Ok(prefix),
        _ => Err("has no number after its slash".into()),
    }
}

fn check_bits(network: IpNet) -> Result<IpNet, String> {
    if network.addr() == network.network() {
        return Ok(network);
    }
    Err(format!(
        "has an address inside its network; write {}",
        network.trunc()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_has_one_of_a_few_forms() {
        for text in [
            "example.com",
            "EXAMPLE.com.",
            "*.example.com:8443",
            "*",
            "*:22",
            "example.com:*",
            "10.0.0.0/8",
            "10.1.2.3",
            "10.1.2.3:53",
            "10.0.0.0/8:*",
            "0.0.0.0/0",
            "::/0",
            "::1",
            "[::1]:80",
            "[fd00::/8]:443",
            "[::/0]:*",
            "2001:db8::/32",
        ] {
            assert!(Rule::parse(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn other_forms_are_refused_with_a_reason() {
        for text in [
            "",
            "*.",
            "a.*.com",
            "*example.com",
            "*.*",
            "https://example.com",
            "example.com/path",
            "example.com:https",
            "example.com:0",
            "example.com:80-90",
            "10.0.0.1/8",
            "10.0.0.0/33",
            "10.0.0.0/08",
            "10.0.0.0/-1",
            "10/8",
            "fd00::1/8",
            "fd00::/129",
            "[fd00::/8",
            "[10.0.0.0/8]",
            "[fe80::1%eth0]:80",
            "::ffff:10.0.0.0/104",
            "2130706433",
            "0x7f.1",
            "user@example.com",
            "bücher.example",
            "-",
            "10.0.0.0/",
            "::1/",
        ] {
            let error = Rule::parse(text).unwrap_err().to_string();
            assert!(error.contains("write "), "{text}: {error}");
        }
    }

    #[test]
    fn without_a_port_it_allows_the_usual_ones_and_denies_all() {
        let rule = Rule::parse("example.com").unwrap();
        let name = HostName::parse("example.com").unwrap();
        assert!(rule.matches_name(Action::Allow, &name, 443));
        assert!(rule.matches_name(Action::Allow, &name, 80));
        assert!(!rule.matches_name(Action::Allow, &name, 22));
        assert!(rule.matches_name(Action::Deny, &name, 22));
    }
}
