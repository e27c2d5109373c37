//! Who may reach a port.

use http::header::{HOST, ORIGIN};
use http::{HeaderMap, HeaderValue, Method, Request, Uri};

use super::cookies;
use super::rewrite::TRAFFIC_TOKEN;
use super::signature::{self, TokenProblem};
use crate::sandboxes::Found;
use crate::sandboxes::tokens::{Tokens, is_same_token};

/// The parameter of a signed URL.
pub(super) const PARAMETER: &str = "sandbox-token";

/// What a request to a port may do.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Access {
    /// It is passed on. If it came with a signed URL, the response sets this cookie.
    Granted(Option<HeaderValue>),
    /// A browser has opened a signed URL: it is sent to the same address without the token, which would otherwise be
    /// shown, stored and passed on to other sites, and gets this cookie for it.
    Exchanged(HeaderValue),
    /// The port is not public, and nothing that was sent opens it.
    Denied(Denial),
}

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Denial {
    /// There is neither a token, nor a signature, nor a cookie.
    Missing,
    /// What is there is wrong.
    Invalid,
    /// The signed URL was valid until some time ago.
    Expired,
    /// A page of another site, or of another sandbox, uses this browser's cookie.
    CrossOrigin,
}

impl Denial {
    /// The texts that E2B's clients know, and one for each reason that E2B does not have.
    pub(super) fn message(self) -> &'static str {
        match self {
            Self::Missing => {
                "Sandbox is secured with traffic access token. Token header 'e2b-traffic-access-token' is missing"
            }
            Self::Invalid => {
                "Sandbox is secured with traffic access token. Provided token in header 'e2b-traffic-access-token' is invalid"
            }
            Self::Expired => "The signed URL has expired. Ask for a new one",
            Self::CrossOrigin => {
                "The request comes from a page of another site. Open the address of the sandbox itself"
            }
        }
    }
}

/// Decides whether a request may reach the port, and removes from it what showed that. What is passed on never has the
/// gateway's tokens in it, whether they were needed or not.
pub(super) fn judge<B>(
    request: &mut Request<B>,
    found: &Found,
    port: u16,
    tokens: &Tokens,
    now: u64,
) -> Access {
    let uid = &found.info.uid;
    let sent = request.headers_mut().remove(TRAFFIC_TOKEN);
    let in_url = take_parameter(request.uri_mut());
    let in_cookies = cookies::take_cookies(request.headers_mut());
    if is_public(found) {
        return Access::Granted(None);
    }
    if let Some(sent) = sent {
        let right = tokens.traffic(uid);
        let is_right = sent.to_str().is_ok_and(|sent| is_same_token(sent, &right));
        return if is_right {
            Access::Granted(None)
        } else {
            Access::Denied(Denial::Invalid)
        };
    }
    if let Some(token) = in_url {
        return match signature::check(tokens, uid, port, &token, now) {
            Ok(expires) => match cookies::set_cookie(&token, expires - now) {
                Some(cookie) if is_navigation(request) => Access::Exchanged(cookie),
                cookie => Access::Granted(cookie),
            },
            Err(TokenProblem::Invalid) => Access::Denied(Denial::Invalid),
            Err(TokenProblem::Expired) => Access::Denied(Denial::Expired),
        };
    }
    let mut denial = Denial::Missing;
    for token in in_cookies {
        match signature::check(tokens, uid, port, &token, now) {
            Ok(_expires) if is_own_origin(request.headers()) => return Access::Granted(None),
            Ok(_expires) => denial = Denial::CrossOrigin,
            Err(TokenProblem::Expired) => denial = Denial::Expired,
            // A cookie of a former sandbox of this id says nothing.
            Err(TokenProblem::Invalid) => {}
        }
    }
    Access::Denied(denial)
}

/// Sandboxes that the E2B API has created are public unless the caller has decided otherwise, as at E2B; all others are
/// private.
fn is_public(found: &Found) -> bool {
    found
        .record
        .as_ref()
        .is_some_and(|record| record.network.allow_public_traffic != Some(false))
}

/// Whether a person has opened the address in a browser, rather than a program or a script.
pub(super) fn is_navigation<B>(request: &Request<B>) -> bool {
    let accepts_html = request
        .headers()
        .get(http::header::ACCEPT)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|accepted| accepted.contains("text/html"));
    accepts_html && matches!(*request.method(), Method::GET | Method::HEAD)
}

/// Whether the browser itself, or a page of the same sandbox, has sent the request. Other sandboxes are below the same
/// domain, so that `SameSite` alone does not keep their pages from using the cookie.
fn is_own_origin(headers: &HeaderMap) -> bool {
    let text = |value: &HeaderValue| value.to_str().map(str::to_owned).ok();
    let own = headers.get(HOST).and_then(text);
    match headers.get(ORIGIN) {
        Some(origin) => {
            let origin = text(origin).unwrap_or_default();
            let host = origin.split_once("://").map(|(_scheme, host)| host);
            match (host, own.as_deref()) {
                (Some(host), Some(own)) => is_same_sandbox(host, own),
                _unknown => false,
            }
        }
        // Browsers send no Origin with a GET that is no CORS request, but say where it comes from (Fetch Metadata).
        None => match headers.get("sec-fetch-site").and_then(text).as_deref() {
            Some("cross-site" | "same-site") => {
                headers.get("sec-fetch-mode").and_then(text).as_deref() == Some("navigate")
            }
            Some(_) | None => true,
        },
    }
}

/// Whether both hosts are ports of one sandbox: `{port}-{id}.{domain}`.
fn is_same_sandbox(one: &str, other: &str) -> bool {
    let sandbox = |host: &str| {
        let (label, domain) = host.split_once('.')?;
        let (_port, id) = label.split_once('-')?;
        Some(format!("{id}.{domain}").to_ascii_lowercase())
    };
    one.eq_ignore_ascii_case(other)
        || sandbox(one).is_some_and(|one| sandbox(other).is_some_and(|other| one == other))
}

/// Takes the token out of the URL, and leaves the rest as it is.
fn take_parameter(uri: &mut Uri) -> Option<String> {
    let query = uri.query()?;
    let prefix = format!("{PARAMETER}=");
    let (mut taken, mut rest) = (None, Vec::new());
    for pair in query.split('&') {
        match pair.strip_prefix(&prefix) {
            Some(token) => taken = Some(token.to_owned()),
            None => rest.push(pair),
        }
    }
    taken.as_ref()?;
    let mut path = uri.path().to_owned();
    if !rest.is_empty() {
        path.push('?');
        path.push_str(&rest.join("&"));
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(path.parse().ok()?);
    *uri = Uri::from_parts(parts).ok()?;
    taken
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_alone_is_taken_out_of_a_url() {
        let cases = [
            ("/?sandbox-token=t", "/", Some("t")),
            (
                "/a/b?x=%20&sandbox-token=1.f&y",
                "/a/b?x=%20&y",
                Some("1.f"),
            ),
            ("/?sandbox-token=a&sandbox-token=b", "/", Some("b")),
            ("/?x-sandbox-token=t", "/?x-sandbox-token=t", None),
            ("/sandbox-token=t", "/sandbox-token=t", None),
            ("http://h/?sandbox-token=t", "http://h/", Some("t")),
        ];
        for (before, after, token) in cases {
            let mut uri: Uri = before.parse().unwrap();
            assert_eq!(take_parameter(&mut uri).as_deref(), token, "{before}");
            assert_eq!(uri.to_string(), after);
        }
    }

    fn is_own(headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        map.insert(HOST, HeaderValue::from_static("3000-abc.sbx.example"));
        for (name, value) in headers {
            map.insert(
                name.parse::<http::HeaderName>().unwrap(),
                value.parse().unwrap(),
            );
        }
        is_own_origin(&map)
    }

    #[test]
    fn a_cookie_works_for_pages_of_its_own_sandbox() {
        assert!(is_own(&[]), "a program with a cookie");
        assert!(is_own(&[("origin", "https://3000-abc.sbx.example")]));
        assert!(is_own(&[("origin", "https://8000-ABC.sbx.example")]));
        assert!(is_own(&[("sec-fetch-site", "none")]));
        assert!(is_own(&[("sec-fetch-site", "same-origin")]));
        let link = [
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-mode", "navigate"),
        ];
        assert!(is_own(&link), "a link on another site");
        for origin in [
            "https://3000-abx.sbx.example",
            "https://abc.sbx.example",
            "https://3000-abc.evil.example",
            "https://evil.example",
            "null",
            "",
        ] {
            assert!(!is_own(&[("origin", origin)]), "{origin}");
        }
        for site in ["same-site", "cross-site"] {
            assert!(!is_own(&[
                ("sec-fetch-site", site),
                ("sec-fetch-mode", "no-cors")
            ]));
            assert!(!is_own(&[("sec-fetch-site", site)]));
        }
    }
}
