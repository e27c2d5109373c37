//! The heads of requests and responses, as the other side should see them.

use http::header::{
    ACCESS_CONTROL_ALLOW_ORIGIN, AUTHORIZATION, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE,
    FORWARDED, HOST, HeaderName, LOCATION, ORIGIN, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
    REFERER, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderValue};

use super::cookies;
use crate::routing::{SANDBOX_ID, SANDBOX_PORT};

/// The token of a sandbox whose ports are not public.
pub(super) const TRAFFIC_TOKEN: HeaderName = HeaderName::from_static("e2b-traffic-access-token");
/// The token for commands and files, which some SDKs send to every port. It may be that of another sandbox.
const ACCESS_TOKEN: HeaderName = HeaderName::from_static("x-access-token");
const API_KEY: HeaderName = HeaderName::from_static("x-api-key");

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
/// Without this, some proxies before the gateway collect events until there are many.
const ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

/// The headers of one connection (RFC 9110, section 7.6.1).
const HOP_BY_HOP: [HeaderName; 9] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    PROXY_AUTHORIZATION,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// How a port looks from outside, and to its server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Names {
    /// `http` or `https`, as the client speaks it.
    pub(super) outer_scheme: &'static str,
    /// The host that the client has asked for. `None` if it has sent none (HTTP/1.0).
    pub(super) outer_host: Option<String>,
    /// The host that the server is asked for.
    pub(super) inner_host: String,
}

impl Names {
    fn outer_origin(&self) -> Option<String> {
        let host = self.outer_host.as_ref()?;
        Some(format!("{}://{host}", self.outer_scheme))
    }

    fn inner_origin(&self) -> String {
        format!("http://{}", self.inner_host)
    }
}

/// What a request to upgrade asks for. The upgraded connection is then copied as it is.
pub(super) fn requested_upgrade(headers: &HeaderMap) -> Option<HeaderValue> {
    let is_requested = connection_options(headers).any(|name| name == UPGRADE);
    is_requested
        .then(|| headers.get(UPGRADE).cloned())
        .flatten()
}

/// Changes the headers of a request to those for the server: nothing of the gateway's is left in them, and the server
/// sees one host in every request, upgrades included.
pub(super) fn rewrite_request(headers: &mut HeaderMap, names: &Names, peer: std::net::IpAddr) {
    let upgrade = requested_upgrade(headers);
    remove_hop_by_hop(headers);
    remove_credentials(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    for name in [ORIGIN, REFERER] {
        let rewritten = headers
            .get(&name)
            .and_then(|value| replace_origin(value, &names.outer_origin()?, &names.inner_origin()));
        if let Some(value) = rewritten {
            headers.insert(name, value);
        }
    }
    insert(headers, HOST, &names.inner_host);
    headers.remove(FORWARDED);
    headers.remove(FORWARDED_HOST);
    if let Some(host) = &names.outer_host {
        insert(headers, FORWARDED_HOST, host);
    }
    insert(headers, FORWARDED_PROTO, names.outer_scheme);
    let path = headers
        .get(FORWARDED_FOR)
        .and_then(|value| value.to_str().ok());
    let path = match path {
        Some(before) => format!("{before}, {peer}"),
        None => peer.to_string(),
    };
    insert(headers, FORWARDED_FOR, &path);
}

/// Changes the headers of a response to those for the client.
pub(super) fn rewrite_response(headers: &mut HeaderMap, names: &Names, is_upgrade: bool) {
    let upgrade = headers.get(UPGRADE).cloned().filter(|_| is_upgrade);
    remove_hop_by_hop(headers);
    if let Some(upgrade) = upgrade {
        headers.insert(UPGRADE, upgrade);
        headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    }
    cookies::confine_cookies(headers);
    for name in [LOCATION, ACCESS_CONTROL_ALLOW_ORIGIN] {
        let rewritten = headers.get(&name).and_then(|value| {
            let outer = names.outer_origin()?;
            let secure = format!("https://{}", names.inner_host);
            replace_origin(value, &names.inner_origin(), &outer)
                .or_else(|| replace_origin(value, &secure, &outer))
        });
        if let Some(value) = rewritten {
            headers.insert(name, value);
        }
    }
    let is_event_stream = headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().starts_with(b"text/event-stream"));
    if is_event_stream {
        headers.insert(ACCEL_BUFFERING, HeaderValue::from_static("no"));
    }
}

/// Whether the length of a body is given in two ways, which servers judge differently (RFC 9112, section 6.1).
pub(super) fn has_ambiguous_length(headers: &HeaderMap) -> bool {
    headers.contains_key(TRANSFER_ENCODING) && headers.contains_key(CONTENT_LENGTH)
        || headers.get_all(CONTENT_LENGTH).iter().count() > 1
}

/// Removes the headers of this connection, and those that `Connection` names.
fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = connection_options(headers).collect();
    // A length or a host is of the message, whatever `Connection` says.
    for name in named {
        if name != CONTENT_LENGTH && name != HOST {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
}

fn connection_options(headers: &HeaderMap) -> impl Iterator<Item = HeaderName> {
    headers
        .get_all(CONNECTION)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
}

/// Removes what authenticates the client to the gateway. Headers that applications have uses of their own for stay,
/// except with a key of a gateway in them.
fn remove_credentials(headers: &mut HeaderMap) {
    for name in [SANDBOX_ID, SANDBOX_PORT] {
        headers.remove(name);
    }
    headers.remove(TRAFFIC_TOKEN);
    headers.remove(ACCESS_TOKEN);
    for name in [API_KEY, AUTHORIZATION] {
        let values: Vec<HeaderValue> = headers.get_all(&name).iter().cloned().collect();
        if values.iter().any(is_credential) {
            headers.remove(&name);
            for value in values {
                if !is_credential(&value) {
                    headers.append(&name, value);
                }
            }
        }
    }
}

/// Whether the value ends in a key of the form that gateways issue.
fn is_credential(value: &HeaderValue) -> bool {
    let last = value
        .as_bytes()
        .rsplit(|byte| byte.is_ascii_whitespace())
        .next();
    let Ok(word) = std::str::from_utf8(last.unwrap_or_default()) else {
        return false;
    };
    word.strip_prefix("e2b_").is_some_and(|digits| {
        digits.len() >= 32 && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
    })
}

/// Replaces the origin at the beginning of a URL.
fn replace_origin(value: &HeaderValue, from: &str, to: &str) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let begin = text.get(..from.len())?;
    let rest = &text[from.len()..];
    let is_whole = rest.is_empty() || rest.starts_with(['/', '?', '#']);
    let replaced = format!("{to}{rest}");
    (begin.eq_ignore_ascii_case(from) && is_whole)
        .then(|| HeaderValue::try_from(replaced).ok())
        .flatten()
}

fn insert(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    match HeaderValue::try_from(value) {
        Ok(value) => {
            headers.insert(name, value);
        }
        // All values come from valid headers or are addresses.
        Err(_invalid) => {
            headers.remove(name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Names {
        Names {
            outer_scheme: "https",
            outer_host: Some("3000-abc.sbx.example".to_owned()),
            inner_host: "localhost:3000".to_owned(),
        }
    }

    fn parse(text: &str) -> HeaderMap {
        let pairs = text
            .lines()
            .map(|line| line.trim().split_once(": ").unwrap());
        pairs
            .map(|(name, value)| (name.parse::<HeaderName>().unwrap(), value.parse().unwrap()))
            .collect()
    }

    fn rewritten(text: &str) -> HeaderMap {
        let mut headers = parse(text);
        rewrite_request(&mut headers, &names(), [192, 0, 2, 1].into());
        headers
    }

    #[test]
    fn the_server_sees_one_host_in_requests_and_upgrades() {
        for upgrade in ["", "\nConnection: keep-alive, Upgrade\nUpgrade: websocket"] {
            let headers = rewritten(&format!(
                "Host: 3000-abc.sbx.example\nOrigin: https://3000-abc.sbx.example\nReferer: https://3000-abc.sbx.example/a?b\nX-Forwarded-Host: forged\nX-Forwarded-Proto: forged\nForwarded: host=forged\nX-Forwarded-For: 198.51.100.7{upgrade}"
            ));
            let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap());
            assert_eq!(value("host"), Some("localhost:3000"));
            assert_eq!(value("origin"), Some("http://localhost:3000"));
            assert_eq!(value("referer"), Some("http://localhost:3000/a?b"));
            assert_eq!(value("x-forwarded-host"), Some("3000-abc.sbx.example"));
            assert_eq!(value("x-forwarded-proto"), Some("https"));
            assert_eq!(value("x-forwarded-for"), Some("198.51.100.7, 192.0.2.1"));
            assert_eq!(value("forwarded"), None);
            let is_upgrade = !upgrade.is_empty();
            assert_eq!(value("upgrade"), is_upgrade.then_some("websocket"));
            assert_eq!(value("connection"), is_upgrade.then_some("upgrade"));
        }
    }

    #[test]
    fn foreign_origins_stay_foreign() {
        for origin in [
            "https://evil.example",
            "http://3000-abc.sbx.example",
            "https://3000-abc.sbx.example.evil.example",
            "https://3000-abc.sbx.example:444",
            "null",
        ] {
            let headers = rewritten(&format!("Host: x\nOrigin: {origin}"));
            assert_eq!(headers[ORIGIN], origin);
        }
    }

    #[test]
    fn hop_by_hop_headers_end_here() {
        let headers = rewritten(
            "Connection: close, X-Private, Host, Content-Length\nX-Private: 1\nKeep-Alive: 5\nTE: trailers\nTransfer-Encoding: chunked\nProxy-Authorization: x\nProxy-Connection: x\nContent-Length: 3\nUpgrade: h2c\nX-Public: 1",
        );
        let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(
            left,
            [
                "content-length",
                "host",
                "x-forwarded-for",
                "x-forwarded-host",
                "x-forwarded-proto",
                "x-public"
            ]
        );
    }

    #[test]
    fn credentials_of_the_gateway_stay_here_and_those_of_applications_go_on() {
        let key = format!("e2b_{}", "0f".repeat(20));
        let headers = rewritten(&format!(
            "E2b-Sandbox-Id: a\nE2b-Sandbox-Port: 1\nE2B-Traffic-Access-Token: x\nX-Access-Token: token\nX-API-Key: {key}\nAuthorization: Bearer {key}"
        ));
        assert!(
            headers
                .keys()
                .all(|name| name.as_str().starts_with("x-forwarded-") || *name == HOST)
        );
        let headers = rewritten("X-API-Key: sk-1\nAuthorization: Basic dTpw");
        assert_eq!(headers["x-api-key"], "sk-1");
        assert_eq!(headers[AUTHORIZATION], "Basic dTpw");
    }

    #[test]
    fn responses_lead_the_client_to_the_outer_host() {
        let mut headers = parse(
            "Location: http://localhost:3000/next?x=1\nAccess-Control-Allow-Origin: http://localhost:3000\nConnection: close\nContent-Type: text/event-stream; charset=utf-8",
        );
        rewrite_response(&mut headers, &names(), false);
        assert_eq!(headers[LOCATION], "https://3000-abc.sbx.example/next?x=1");
        assert_eq!(
            headers[ACCESS_CONTROL_ALLOW_ORIGIN],
            "https://3000-abc.sbx.example"
        );
        assert_eq!(headers["x-accel-buffering"], "no");
        assert!(!headers.contains_key(CONNECTION));
        for location in [
            "/relative",
            "http://localhost:30001/",
            "http://localhost:3000.evil/",
            "https://elsewhere/",
        ] {
            let mut headers = parse(&format!("Location: {location}"));
            rewrite_response(&mut headers, &names(), false);
            assert_eq!(headers[LOCATION], location);
        }
    }

    #[test]
    fn a_body_with_two_lengths_is_ambiguous() {
        assert!(has_ambiguous_length(&parse(
            "Content-Length: 3\nTransfer-Encoding: chunked"
        )));
        assert!(has_ambiguous_length(&parse(
            "Content-Length: 3\nContent-Length: 3"
        )));
        assert!(!has_ambiguous_length(&parse("Content-Length: 3")));
        assert!(!has_ambiguous_length(&parse("Transfer-Encoding: chunked")));
    }
}
