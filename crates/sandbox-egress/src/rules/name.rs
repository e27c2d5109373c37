//! Hosts, in one normal form each.

use std::fmt::{self, Display, Formatter};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The longest name, in characters (RFC 1035 §2.3.4, without the dot of the root).
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// The name of a host: lower case, without a dot at its end, and nothing that a resolver could take for an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct HostName(String);

/// What a connection is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Host {
    Name(HostName),
    /// Never IPv4 that is mapped to IPv6: that is an IPv4 address here.
    Address(IpAddr),
}

impl HostName {
    /// Reads a name of letters, digits, `-` and `_`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, as the end of a sentence about it.
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if !text.is_ascii() {
            return Err(
                "has other characters than ASCII; write it in its ASCII form (xn--…, RFC 5890)",
            );
        }
        let name = text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase();
        if name.is_empty() {
            return Err("is empty");
        }
        if name.len() > MAX_NAME {
            return Err("is longer than 253 characters");
        }
        for label in name.split('.') {
            if label.is_empty() || label.len() > MAX_LABEL {
                return Err("has a part that is empty or longer than 63 characters");
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err("has a part that starts or ends with a hyphen");
            }
            let is_usual = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
            if !label.bytes().all(is_usual) {
                return Err("has characters that names of hosts do not have");
            }
        }
        // Resolvers read these as IPv4 addresses: 2130706433, 0x7f.1, 0177.0.0.1 (inet_aton(3); WHATWG URL, "ends in a
        // number checker").
        let last = name.rsplit('.').next().unwrap_or_default();
        let hexadecimal = last.strip_prefix("0x");
        if last.bytes().all(|byte| byte.is_ascii_digit())
            || hexadecimal.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        {
            return Err(
                "is an address in an unusual spelling; write four decimal numbers without leading zeros",
            );
        }
        Ok(Self(name))
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this name is below another one: `a.b.example` is below `b.example`.
    pub(crate) fn is_below(&self, other: &Self) -> bool {
        self.0
            .strip_suffix(&other.0)
            .is_some_and(|rest| rest.ends_with('.'))
    }
}

impl Host {
    /// Reads a name, an IPv4 address, or an IPv6 address in brackets.
    ///
    /// # Errors
    ///
    /// As [`HostName::parse`].
    pub(crate) fn parse(text: &str) -> Result<Self, &'static str> {
        if let Some(inside) = text.strip_prefix('[') {
            let inside = inside.strip_suffix(']').ok_or("lacks a closing bracket")?;
            // This parser knows no zone ids (RFC 6874).
            let address: Ipv6Addr = inside
                .parse()
                .map_err(|_| "is no IPv6 address; a zone is not allowed, either")?;
            return Ok(Self::from_address(address.into()));
        }
        // This parser accepts only four decimal numbers without leading zeros.
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Ok(Self::from_address(address.into()));
        }
        HostName::parse(text).map(Self::Name)
    }

    pub(crate) fn from_address(address: IpAddr) -> Self {
        Self::Address(address.to_canonical())
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(&name.0),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

/// A host and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) host: Host,
    pub(crate) port: u16,
}

impl Target {
    /// Reads `HOST:PORT`, or `HOST` if there is a port to assume.
    ///
    /// # Errors
    ///
    /// As [`HostName::parse`].
    pub(crate) fn parse(text: &str, assumed_port: Option<u16>) -> Result<Self, &'static str> {
        let (host, port) = split_port(text)?;
        let port = match port {
            Some(port) => parse_port(port)?,
            None => assumed_port.ok_or("has no port")?,
        };
        Ok(Self {
            host: Host::parse(host)?,
            port,
        })
    }
}

impl Display for Target {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Splits off what follows the last colon, outside of brackets.
pub(super) fn split_port(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    let after_bracket = match text.find(']') {
        Some(end) if text.starts_with('[') => end + 1,
        Some(_) => return Err("has a bracket in an unusual place"),
        None => 0,
    };
    match text[after_bracket..].find(':') {
        Some(colon) => {
            let at = after_bracket + colon;
            Ok((&text[..at], Some(&text[at + 1..])))
        }
        None => Ok((text, None)),
    }
}

/// Reads a port from 1 to 65535 in decimal, without a sign and leading zeros.
pub(super) fn parse_port(text: &str) -> Result<u16, &'static str> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.starts_with('0');
    match text.parse() {
        Ok(port) if is_plain => Ok(port),
        _ => Err("has no port from 1 to 65535"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_form() {
        for text in ["example.com", "EXAMPLE.com.", "Example.COM"] {
            assert_eq!(Host::parse(text).unwrap().to_string(), "example.com");
        }
        assert_eq!(
            Host::parse("xn--bcher-kva.example").unwrap().to_string(),
            "xn--bcher-kva.example"
        );
        assert!(Host::parse("a_b.example").is_ok());
    }

    #[test]
    fn addresses_have_one_spelling() {
        for odd in [
            "2130706433",
            "0x7f000001",
            "0X7F.1",
            "127.1",
            "127.0.1",
            "0177.0.0.1",
            "127.0.0.01",
            "127.0.0.1.",
            "1.2.3.4.5",
            "256.1.1.1",
            "0x",
            "127.0.0.0x1",
            "example.0x10",
            "017700000001",
            "%31%32%37.0.0.1",
            "127%2e0.0.1",
            "１２７.0.0.1",
            "127。0。0。1",
            "[127.0.0.1]",
            "[::1%lo]",
            "[fe80::1%25eth0]",
            "[::1",
            "::1",
            "[::ffff:0x7f.1]",
            "[::01111]",
            "localhost\0",
            "a b",
            "a/b",
            "user@example.com",
            "example..com",
            ".example.com",
            "-a.example",
            "a-.example",
            "",
            ".",
            "bücher.example",
            "example.com%00",
            "a\\b",
            "*.example.com",
            "a,b",
        ] {
            assert!(Host::parse(odd).is_err(), "{odd}");
        }
        for (text, address) in [
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[0:0:0:0:0:0:0:1]", "[::1]"),
            ("[::ffff:127.0.0.1]", "127.0.0.1"),
            ("[::ffff:7f00:1]", "127.0.0.1"),
            ("[2001:DB8::A]", "[2001:db8::a]"),
        ] {
            assert_eq!(Host::parse(text).unwrap().to_string(), address);
        }
    }

    #[test]
    fn a_target_needs_a_usual_port() {
        for odd in [
            "a.example",
            "a.example:",
            "a.example:0",
            "a.example:080",
            "a.example:+80",
            "a.example:65536",
            "a.example:80:80",
            "a.example: 80",
            "[::1]80",
            "[::1]:",
            "x[::1]:80",
            "a.example:0x50",
            "a.example:٨٠",
            "::1:80",
        ] {
            assert!(Target::parse(odd, None).is_err(), "{odd}");
        }
        let target = Target::parse("[::1]:443", None).unwrap();
        assert_eq!(target.to_string(), "[::1]:443");
        assert_eq!(
            Target::parse("A.example", Some(80)).unwrap().to_string(),
            "a.example:80"
        );
    }

    #[test]
    fn a_name_is_below_another_only_at_a_dot() {
        let name = |text| HostName::parse(text).unwrap();
        assert!(name("a.example.com").is_below(&name("example.com")));
        assert!(name("b.a.example.com").is_below(&name("example.com")));
        assert!(!name("example.com").is_below(&name("example.com")));
        assert!(!name("badexample.com").is_below(&name("example.com")));
    }

    #[test]
    fn long_names_are_refused() {
        let long = vec!["a".repeat(63); 4].join(".");
        assert!(Host::parse(&long).is_err());
        assert!(Host::parse(&"a".repeat(64)).is_err());
        assert!(Host::parse(&long[2..]).is_ok());
    }
}
