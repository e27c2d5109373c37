//! Requests for upstreams: `/NAME/…` on the proxy's own port.

use std::sync::Arc;

use http::header::{HOST, HeaderMap, HeaderName, HeaderValue, ORIGIN};
use http::uri::Uri;
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use sandbox_core::Escaped;

use super::body::{CountedBody, ResponseBody};
use super::headers::{Malformed, refuse_trace};
use super::relinked::{self, RelinkedBody};
use crate::rules::name::{Host, Target};
use crate::upstream::ServedUpstream;

const HTTP_PORT: u16 = 80;
/// The most characters that are repeated of a name that there is not.
const MAX_TEXT: usize = 64;

/// Whether the page that a program shows is of another site (<https://www.w3.org/TR/fetch-metadata/>).
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// An upstream that a request is for.
#[derive(Debug, Clone)]
pub(super) struct Named {
    pub(super) upstream: Arc<ServedUpstream>,
    /// The upstream's address as the program in the sandbox has it, without a slash at its end.
    pub(super) place: String,
}

/// Why a request for an upstream is not served.
#[derive(Debug)]
pub(super) enum Unserved {
    Malformed(Malformed),
    /// There is none of this name.
    Unknown(String),
}

impl From<Malformed> for Unserved {
    fn from(reason: Malformed) -> Self {
        Self::Malformed(reason)
    }
}

impl Named {
    /// Removes from a response what is not for the sandbox, and has its links lead to the upstream.
    pub(super) fn finish(self, mut response: Response<CountedBody>) -> Response<ResponseBody> {
        let is_whole = response.status() != StatusCode::PARTIAL_CONTENT;
        let headers = response.headers_mut();
        self.upstream.prepare_response(headers, &self.place);
        match self.upstream.own_links() {
            Some(base) if is_whole && relinked::has_links(headers) => {
                relinked::prepare_headers(headers);
                response.map(|body| RelinkedBody::new(body, &base, &self.place).boxed_unsync())
            }
            Some(_) | None => response.map(BodyExt::boxed_unsync),
        }
    }
}

/// Whether a request names a path of the proxy itself (RFC 9112 §3.2.1).
pub(super) fn is_for_proxy_itself<B>(request: &Request<B>) -> bool {
    let uri = request.uri();
    request.method() != Method::CONNECT
        && uri.scheme().is_none()
        && uri.authority().is_none()
        && uri.path().starts_with('/')
}

/// Returns the upstream that a request is for, and the address of the request there.
///
/// # Errors
///
/// If there is none, or if the request is not from a program that means it.
pub(super) fn find_upstream<B>(
    upstreams: &[Arc<ServedUpstream>],
    request: &Request<B>,
) -> Result<(Named, Uri), Unserved> {
    let authority = check_origin(request.headers())?;
    refuse_trace(request)?;
    let path = request.uri().path();
    let after_slash = path.strip_prefix('/').unwrap_or(path);
    let name = after_slash.split('/').next().unwrap_or_default();
    let Some(upstream) = upstreams.iter().find(|one| one.name() == name) else {
        let name = Escaped::new(name).with_max_chars(MAX_TEXT).to_string();
        let names: Vec<&str> = upstreams.iter().map(|one| one.name()).collect();
        return Err(Unserved::Unknown(format!(
            "no upstream has the name {name}; there are: {}",
            names.join(", ")
        )));
    };
    let rest = &after_slash[name.len()..];
    let path = upstream.join(rest, request.uri().query())?;
    let named = Named {
        upstream: Arc::clone(upstream),
        place: format!("http://{authority}/{name}"),
    };
    Ok((named, Uri::from(path)))
}

/// Checks that a request is meant for the proxy, and not made by a page of another site in a browser: neither by a name that
/// leads to loopback, nor by a link. Returns its `Host`.
fn check_origin(headers: &HeaderMap) -> Result<&str, Malformed> {
    let mut hosts = headers.get_all(HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else {
        return Err("the request needs one Host");
    };
    let host = host.to_str().map_err(|_| "Host has unusual characters")?;
    if !is_loopback(host) {
        return Err("Host is not 127.0.0.1, which upstreams are at");
    }
    let is_own_page = |origin: &HeaderValue| {
        let origin = origin.to_str().unwrap_or_default();
        let authority = origin
            .strip_prefix("http://")
            .or_else(|| origin.strip_prefix("https://"));
        authority.is_some_and(is_loopback)
    };
    if !headers.get_all(ORIGIN).iter().all(is_own_page) {
        return Err("the request is from a page of another site (Origin)");
    }
    if headers
        .get_all(FETCH_SITE)
        .iter()
        .any(|site| site == "cross-site")
    {
        return Err("the request is from a page of another site (Sec-Fetch-Site)");
    }
    Ok(host)
}

fn is_loopback(authority: &str) -> bool {
    match Target::parse(authority, Some(HTTP_PORT)) {
        Ok(target) => match target.host {
            Host::Address(address) => address.is_loopback(),
            Host::Name(name) => name.as_str() == "localhost",
        },
        Err(_) => false,
    }
}
