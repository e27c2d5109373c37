//! The address of a gateway: scheme, host and port.

use std::fmt;

use http::Uri;
use sandbox::Check;

/// Where a gateway is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) is_tls: bool,
    /// A name or an address; one of IPv6 without its brackets.
    pub(super) host: String,
    pub(super) port: u16,
    /// As in the URL, for `Host`.
    pub(super) authority: String,
}

impl Origin {
    pub(super) fn parse(url: &str) -> Result<Self, Check> {
        const FORM: &str =
            "use the form http://host:port or https://host, as in E2B_API_URL and E2B_SANDBOX_URL";
        let failed = |detail: String| {
            Check::failed("address", format!("{url:?} {detail}")).with_remedy(FORM)
        };
        let uri: Uri = url
            .parse()
            .map_err(|error| failed(format!("is no URL: {error}")))?;
        let is_tls = match uri.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            Some(other) => return Err(failed(format!("has the scheme {other}"))),
            None => return Err(failed("has no scheme".to_owned())),
        };
        let authority = uri
            .authority()
            .ok_or_else(|| failed("names no host".to_owned()))?;
        if authority.as_str().contains('@') {
            return Err(failed("has a user name or a password".to_owned()));
        }
        if !matches!(uri.path(), "" | "/") || uri.query().is_some() {
            return Err(failed(
                "has a path, which the SDKs drop from signed addresses; give the gateway a host name of its own"
                    .to_owned(),
            ));
        }
        let host = authority.host();
        // `Authority::port_u16` takes a number that is too large for none.
        let port = match authority.as_str()[host.len()..].strip_prefix(':') {
            None | Some("") if is_tls => 443,
            None | Some("") => 80,
            Some(port) => port
                .parse()
                .map_err(|_| failed(format!("has the port {port}, and ports end at 65535")))?,
        };
        let host = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'))
            .unwrap_or(host);
        Ok(Self {
            is_tls,
            host: host.to_owned(),
            port,
            authority: authority.to_string(),
        })
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = if self.is_tls { "https" } else { "http" };
        write!(f, "{scheme}://{}", self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_scheme_a_host_and_a_port() {
        let parsed = |url| {
            let origin = Origin::parse(url).unwrap();
            (origin.is_tls, origin.host, origin.port)
        };
        for (url, expected) in [
            ("http://127.0.0.1:3000", (false, "127.0.0.1", 3000)),
            ("http://sbx.test", (false, "sbx.test", 80)),
            ("https://sbx.test/", (true, "sbx.test", 443)),
            ("https://[::1]:8443", (true, "::1", 8443)),
        ] {
            let (is_tls, host, port) = expected;
            assert_eq!(parsed(url), (is_tls, host.to_owned(), port), "{url}");
        }
        for url in [
            "",
            "sbx.test",
            "127.0.0.1:3000",
            "ftp://sbx.test",
            "http://",
            "http://me:secret@sbx.test",
            "https://sbx.test/gateway",
            "https://sbx.test/?x=1",
            "http://sbx.test:99999",
        ] {
            let failed = Origin::parse(url).unwrap_err();
            assert!(failed.remedy.is_some(), "{url}");
        }
    }
}
