//! What a request asks for, and the fields of one connection alone.

use http::header::{
    CONNECTION, CONTENT_LENGTH, HOST, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
    UPGRADE,
};
use http::uri::{PathAndQuery, Scheme, Uri};
use http::{Method, Request};

use crate::hop_by_hop::HOP_BY_HOP;
use crate::rules::name::Target;

/// The ports of `http` and `https` (RFC 9110 §4.2.1, §4.2.2).
const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;
const WEBSOCKET: &str = "websocket";
/// Fields by which some servers choose another method than that of the request.
const METHOD_OVERRIDES: [&str; 3] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
];

/// A request that is not served, with the reason.
pub(super) type Malformed = &'static str;

/// Returns what a `CONNECT` is for.
///
/// # Errors
///
/// If the target is unusual, or if the request contradicts itself.
pub(super) fn connect_target<B>(request: &Request<B>) -> Result<Target, Malformed> {
    let headers = request.headers();
    // Content of a CONNECT has no meaning, so one reads it as part of the tunnel and another does not (RFC 9110 §9.3.6).
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Err("CONNECT has no content");
    }
    let authority = request.uri().authority().ok_or("CONNECT needs HOST:PORT")?;
    let target = Target::parse(authority.as_str(), None)?;
    if let Some(host) = find_host(headers)?
        && Target::parse(host, Some(target.port))? != target
    {
        return Err("Host and the target of CONNECT disagree");
    }
    Ok(target)
}

/// Returns what any other request to the proxy is for.
///
/// # Errors
///
/// As [`connect_target`].
pub(super) fn absolute_target<B>(request: &Request<B>) -> Result<Target, Malformed> {
    let uri = request.uri();
    match uri.scheme() {
        Some(scheme) if *scheme == Scheme::HTTP => {}
        Some(scheme) if *scheme == Scheme::HTTPS => return Err("use CONNECT for https"),
        Some(_) => return Err("only http is proxied"),
        None => return Err("this is a proxy: ask it for an absolute address, or use CONNECT"),
    }
    let authority = uri.authority().ok_or("the address has no host")?;
    let target = Target::parse(authority.as_str(), Some(HTTP_PORT))?;
    check_host(request, &target, HTTP_PORT)?;
    Ok(target)
}

/// Checks that a request inside a tunnel is for the host that the tunnel was opened to.
///
/// # Errors
///
/// If it is for another one, or as [`connect_target`].
pub(super) fn check_tunneled<B>(request: &Request<B>, target: &Target) -> Result<(), Malformed> {
    check_within(request, target, &Scheme::HTTP, HTTP_PORT)
}

/// As [`check_tunneled`], for a tunnel in which TLS was spoken.
///
/// # Errors
///
/// As [`check_tunneled`], and for requests that servers answer with what they have got, and so with secrets.
pub(super) fn check_intercepted<B>(request: &Request<B>, target: &Target) -> Result<(), Malformed> {
    refuse_trace(request)?;
    check_within(request, target, &Scheme::HTTPS, HTTPS_PORT)
}

/// Refuses requests that servers answer with the request itself, and so with a credential.
///
/// # Errors
///
/// If it is one.
pub(super) fn refuse_trace<B>(request: &Request<B>) -> Result<(), Malformed> {
    let is_trace = |method: &[u8]| {
        let method = method.trim_ascii();
        method.eq_ignore_ascii_case(b"TRACE") || method.eq_ignore_ascii_case(b"TRACK")
    };
    let is_named = METHOD_OVERRIDES
        .iter()
        .flat_map(|name| request.headers().get_all(*name))
        .any(|value| is_trace(value.as_bytes()));
    if is_named || is_trace(request.method().as_str().as_bytes()) {
        return Err("TRACE is not served where a credential is added");
    }
    Ok(())
}

fn check_within<B>(
    request: &Request<B>,
    target: &Target,
    scheme: &Scheme,
    usual_port: u16,
) -> Result<(), Malformed> {
    if *request.method() == Method::CONNECT {
        return Err("CONNECT is not served inside of CONNECT");
    }
    if let Some(authority) = request.uri().authority()
        && (request.uri().scheme() != Some(scheme)
            || Target::parse(authority.as_str(), Some(usual_port))? != *target)
    {
        return Err("the request is for another host than the tunnel");
    }
    if find_host(request.headers())?.is_none() {
        return Err("the request has no Host");
    }
    check_host(request, target, usual_port)
}

fn check_host<B>(request: &Request<B>, target: &Target, usual_port: u16) -> Result<(), Malformed> {
    match find_host(request.headers())? {
        Some(host) if Target::parse(host, Some(usual_port))? != *target => {
            Err("Host and the address of the request disagree")
        }
        Some(_) => Ok(()),
        None if request.version() < http::Version::HTTP_11 => Ok(()),
        None => Err("the request has no Host"),
    }
}

fn find_host(headers: &HeaderMap) -> Result<Option<&str>, Malformed> {
    let mut hosts = headers.get_all(HOST).iter();
    let host = hosts.next();
    if hosts.next().is_some() {
        return Err("the request has more than one Host");
    }
    host.map(|host| host.to_str().map_err(|_| "Host has unusual characters"))
        .transpose()
}

/// How the connections on both sides go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Framing {
    /// The content comes in chunks. Then nothing that follows the request is read: another server could take its end to be
    /// elsewhere (RFC 9112 §6.1).
    pub(super) is_chunked: bool,
    /// The request asks for a WebSocket.
    pub(super) is_websocket: bool,
}

/// Prepares a request for the server: its address without the host, `Host` as it was checked, and nothing that is about the
/// connection to the proxy. `is_secured` says whether TLS is spoken with the server.
///
/// # Errors
///
/// If its framing is unusual.
pub(super) fn prepare_request<B>(
    request: &mut Request<B>,
    target: &Target,
    is_secured: bool,
) -> Result<Framing, Malformed> {
    let headers = request.headers();
    let encodings: Vec<&HeaderValue> = headers.get_all(TRANSFER_ENCODING).iter().collect();
    let is_chunked = match encodings[..] {
        [] => false,
        [one] if one.as_bytes().eq_ignore_ascii_case(b"chunked") => true,
        _ => return Err("only one transfer coding is served, chunked"),
    };
    if is_chunked && headers.contains_key(CONTENT_LENGTH) {
        return Err("the request has both Content-Length and Transfer-Encoding");
    }
    let is_websocket = request.method() == Method::GET
        && names_option(headers, "upgrade")
        && headers
            .get(UPGRADE)
            .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()));

    let path = match request.uri().path_and_query() {
        Some(path) if path.as_str().starts_with('/') || path.as_str() == "*" => path.clone(),
        Some(_) | None => PathAndQuery::from_static("/"),
    };
    *request.uri_mut() = Uri::from(path);
    *request.version_mut() = http::Version::HTTP_11;
    let headers = request.headers_mut();
    remove_hop_by_hop(headers);
    let usual_port = if is_secured { HTTPS_PORT } else { HTTP_PORT };
    let host = if target.port == usual_port {
        target.host.to_string()
    } else {
        target.to_string()
    };
    let host = HeaderValue::try_from(host).map_err(|_| "Host has unusual characters")?;
    headers.insert(HOST, host);
    if is_websocket {
        ask_for_websocket(headers);
    }
    Ok(Framing {
        is_chunked,
        is_websocket,
    })
}

/// Removes what is about the connection to the server from the fields of a response. An upgrade stays one.
pub(super) fn prepare_response(headers: &mut HeaderMap, is_upgrade: bool) {
    remove_hop_by_hop(headers);
    if is_upgrade {
        ask_for_websocket(headers);
    }
}

fn ask_for_websocket(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static(WEBSOCKET));
}

fn remove_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = options(headers)
        .filter_map(|option| HeaderName::try_from(option).ok())
        // Whoever names these would change what the message is.
        .filter(|name| ![HOST, CONTENT_LENGTH].contains(name))
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in HOP_BY_HOP {
        headers.remove(name);
    }
}

fn names_option(headers: &HeaderMap, option: &str) -> bool {
    options(headers).any(|named| named.eq_ignore_ascii_case(option))
}

/// The options of `Connection`.
fn options(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: &str, uri: &str, headers: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn host_and_address_have_to_agree() {
        let absolute = |uri, host: &[&str]| {
            let headers: Vec<_> = host.iter().map(|host| ("host", *host)).collect();
            absolute_target(&request("GET", uri, &headers)).map(|target| target.to_string())
        };
        let a = "http://a.example/x";
        assert_eq!(absolute(a, &["a.example"]).unwrap(), "a.example:80");
        assert_eq!(absolute(a, &["A.example.:80"]).unwrap(), "a.example:80");
        assert_eq!(
            absolute("http://a.example:81/", &["a.example:81"]).unwrap(),
            "a.example:81"
        );
        for (uri, host) in [
            (a, &["b.example"][..]),
            (a, &["a.example:81"]),
            (a, &["a.example", "a.example"]),
            (a, &[]),
            (a, &[""]),
            ("http://a.example:81/", &["a.example"]),
            ("/x", &["a.example"]),
            ("https://a.example/", &["a.example"]),
            ("ftp://a.example/", &["a.example"]),
            ("http://u:p@a.example/", &["a.example"]),
            ("http://2130706433/", &["2130706433"]),
            ("http://127.1/", &["127.1"]),
        ] {
            assert!(absolute(uri, host).is_err(), "{uri} {host:?}");
        }
    }

    #[test]
    fn a_connect_names_a_host_and_a_port_and_has_no_content() {
        let connect = |uri, headers: &[(&str, &str)]| {
            connect_target(&request("CONNECT", uri, headers)).map(|target| target.to_string())
        };
        assert_eq!(connect("a.example:443", &[]).unwrap(), "a.example:443");
        assert_eq!(
            connect("a.example:443", &[("host", "a.example")]).unwrap(),
            "a.example:443"
        );
        for (uri, headers) in [
            ("a.example", &[][..]),
            ("a.example:443", &[("host", "b.example:443")]),
            ("a.example:443", &[("content-length", "5")]),
            ("a.example:443", &[("transfer-encoding", "chunked")]),
            ("u@a.example:443", &[]),
        ] {
            assert!(connect(uri, headers).is_err(), "{uri} {headers:?}");
        }
    }

    #[test]
    fn only_what_is_for_the_server_is_passed_on() {
        let target = Target::parse("a.example:81", None).unwrap();
        let mut asked = request(
            "GET",
            "http://a.example:81/x?y",
            &[
                ("host", "a.example:81"),
                ("connection", "close, x-mine, host, content-length, upgrade"),
                ("x-mine", "1"),
                ("proxy-authorization", "Basic x"),
                ("upgrade", "h2c"),
                ("te", "trailers"),
                ("accept", "*/*"),
            ],
        );
        let framing = prepare_request(&mut asked, &target, false).unwrap();
        assert_eq!(
            framing,
            Framing {
                is_chunked: false,
                is_websocket: false
            }
        );
        assert_eq!(asked.uri(), "/x?y");
        let names: Vec<_> = asked.headers().keys().map(HeaderName::as_str).collect();
        assert_eq!(names, ["host", "accept"]);
        assert_eq!(asked.headers()[HOST], "a.example:81");
    }

    #[test]
    fn unusual_framing_is_refused() {
        let target = Target::parse("a.example:80", None).unwrap();
        for headers in [
            &[("transfer-encoding", "gzip, chunked")][..],
            &[
                ("transfer-encoding", "chunked"),
                ("transfer-encoding", "chunked"),
            ],
            &[("transfer-encoding", "chunked"), ("content-length", "3")],
            &[("transfer-encoding", "xchunked")],
        ] {
            let mut asked = request("POST", "http://a.example/", headers);
            assert!(
                prepare_request(&mut asked, &target, false).is_err(),
                "{headers:?}"
            );
        }
    }
}
