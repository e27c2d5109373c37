//! Traffic to the ports of sandboxes: HTTP/1.1, WebSockets and other upgrades, server-sent events.

mod access;
mod cookies;
mod incomplete;
mod page;
mod rewrite;
mod signature;
mod upgrade;
mod urls;

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, HOST, LOCATION, SET_COOKIE};
use http::{HeaderValue, Method, Request, StatusCode, Uri, Version};
use sandbox::SandboxId;

use self::access::{Access, Denial};
use self::page::Problem;
use self::rewrite::Names;
pub use self::urls::PreviewSigner;
use crate::api_error::ApiError;
use crate::app::App;
use crate::connection::ConnectionHandle;
use crate::routing::SandboxRef;
use crate::sandboxes::Found;
use crate::upstream::{UpstreamError, open_awake};

/// Passes a request on to a port of a sandbox.
pub(crate) async fn handle(
    app: Arc<App>,
    target: SandboxRef,
    mut request: Request<Body>,
) -> Response {
    let Some(id) = target.id else {
        return ApiError::bad_request("the request names no sandbox").into_response();
    };
    let port = target.port;
    let is_for_people = access::is_navigation(&request);
    if request.method() == Method::CONNECT || rewrite::has_ambiguous_length(request.headers()) {
        return ApiError::bad_request("the request cannot be passed on unambiguously")
            .into_response();
    }
    let found = match app.sandboxes.find_for_traffic(&id).await {
        Ok(found) => found,
        Err(error) => return respond_not_found(&id, &error, is_for_people),
    };
    let tokens = app.sandboxes.tokens();
    let cookie = match access::judge(&mut request, &found, port, tokens, urls::now()) {
        Access::Granted(cookie) => cookie,
        Access::Exchanged(cookie) => return respond_with_cookie(request.uri(), cookie),
        Access::Denied(denial) => return respond_denied(&id, denial, is_for_people),
    };
    let mut response = pass_on(&app, &found, port, request, is_for_people).await;
    if let Some(cookie) = cookie {
        response.headers_mut().append(SET_COOKIE, cookie);
    }
    response
}

/// Sends the request to the server on this port, and returns its response.
async fn pass_on(
    app: &App,
    found: &Found,
    port: u16,
    mut request: Request<Body>,
    is_for_people: bool,
) -> Response {
    let id = &found.info.id;
    let sandbox = match open_awake(&app.sandboxes, found).await {
        Ok(Some(sandbox)) => sandbox,
        Ok(None) => return respond_gone(id, is_for_people),
        Err(error) => return respond_unreachable(id, &error, is_for_people),
    };
    let names = name_hosts(app, found, port, &request);
    let version = request.version();
    let connection = request.extensions().get::<ConnectionHandle>().cloned();
    let peer = connection
        .as_ref()
        .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| {
            connection.peer().ip()
        });
    let client = upgrade::take_client(&mut request);
    rewrite::rewrite_request(request.headers_mut(), &names, peer);
    let request = match to_origin_form(request) {
        Ok(request) => request,
        Err(refused) => return refused.into_response(),
    };
    let silence = app.config.preview.response_timeout;
    match app.upstreams.send(&sandbox, port, request, silence).await {
        Ok(mut response) => {
            let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
            if is_upgrade {
                let Some(client) = client else {
                    return respond_invalid(id, port, is_for_people);
                };
                upgrade::join(client, &mut response, port);
            }
            rewrite::rewrite_response(response.headers_mut(), &names, is_upgrade);
            response.map(|body| incomplete::mark_cut_off(body, version, connection))
        }
        Err(UpstreamError::PortClosed) => respond_closed(app, found, port, is_for_people).await,
        Err(UpstreamError::Sandbox(error)) => respond_unreachable(id, &error, is_for_people),
        Err(UpstreamError::Timeout) => Problem {
            status: StatusCode::GATEWAY_TIMEOUT,
            sandbox: id.as_str(),
            port: Some(port),
            message: "The server in the sandbox does not respond",
            remedy: "Look at the log of the program that listens on this port.",
        }
        .respond(is_for_people),
        Err(UpstreamError::Http(error)) => {
            tracing::debug!(%id, port, %error, "no response of a server in a sandbox");
            respond_invalid(id, port, is_for_people)
        }
    }
}

/// The names of this port outside and inside.
fn name_hosts(app: &App, found: &Found, port: u16, request: &Request<Body>) -> Names {
    let outer_host = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| {
            let header = request.headers().get(HOST)?;
            Some(header.to_str().ok()?.to_owned())
        });
    let mask = found
        .record
        .as_ref()
        .and_then(|record| record.network.mask_request_host.as_ref())
        .map(|mask| mask.replace("${PORT}", &port.to_string()))
        .filter(|mask| HeaderValue::try_from(mask.as_str()).is_ok());
    let kept = outer_host.clone().filter(|_| app.config.preview.keep_host);
    let inner_host = mask.or(kept).unwrap_or_else(|| format!("localhost:{port}"));
    let is_tls = request
        .extensions()
        .get::<ConnectionHandle>()
        .is_some_and(ConnectionHandle::is_tls);
    // The ingress before the gateway has ended TLS, and says so.
    let is_secure = is_tls
        || request
            .headers()
            .get("x-forwarded-proto")
            .is_some_and(|proto| proto.as_bytes().eq_ignore_ascii_case(b"https"));
    Names {
        outer_scheme: if is_secure { "https" } else { "http" },
        outer_host,
        inner_host,
    }
}

/// Returns the request as a server of HTTP/1.1 expects it: with the path alone in its first line.
fn to_origin_form(request: Request<Body>) -> Result<Request<Body>, ApiError> {
    let (head, body) = request.into_parts();
    let path = match head.uri.path_and_query() {
        Some(path) if path.as_str().starts_with('/') => path.as_str(),
        Some(path) if path.as_str() == "*" && head.method == Method::OPTIONS => "*",
        None => "/",
        Some(_) => return Err(ApiError::bad_request("the path is not absolute")),
    };
    let mut passed = Request::new(body);
    *passed.method_mut() = head.method;
    *passed.uri_mut() = path
        .parse()
        .map_err(|_invalid| ApiError::bad_request("the path is invalid"))?;
    *passed.version_mut() = Version::HTTP_11;
    *passed.headers_mut() = head.headers;
    Ok(passed)
}

fn respond_with_cookie(uri: &Uri, cookie: HeaderValue) -> Response {
    let path = uri
        .path_and_query()
        .map_or("/", http::uri::PathAndQuery::as_str);
    // Two slashes would lead to another host.
    let path = format!("/{}", path.trim_start_matches(['/', '\\']));
    let mut response = StatusCode::FOUND.into_response();
    let headers = response.headers_mut();
    if let Ok(location) = HeaderValue::try_from(path) {
        headers.insert(LOCATION, location);
    }
    headers.insert(SET_COOKIE, cookie);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(
        http::header::REFERRER_POLICY,
        HeaderValue::from_static("no-referrer"),
    );
    response
}

fn respond_denied(id: &SandboxId, denial: Denial, is_for_people: bool) -> Response {
    Problem {
        status: StatusCode::FORBIDDEN,
        sandbox: id.as_str(),
        port: None,
        message: denial.message(),
        remedy: "This port is private. Ask whoever runs the sandbox for a signed address: sandbox url ID PORT",
    }
    .respond(is_for_people)
}

/// A sandbox that was not found: there is none, or the backend does not respond.
fn respond_not_found(id: &SandboxId, error: &sandbox::Error, is_for_people: bool) -> Response {
    if let sandbox::Error::NotFound { .. } = error {
        return respond_gone(id, is_for_people);
    }
    tracing::warn!(%id, %error, "sandbox not looked up");
    Problem {
        status: StatusCode::SERVICE_UNAVAILABLE,
        sandbox: id.as_str(),
        port: None,
        message: "The gateway cannot find out about sandboxes now",
        remedy: "Load this page again in a moment.",
    }
    .respond(is_for_people)
}

/// A sandbox to which there is no connection, most likely because it has ended.
fn respond_unreachable(id: &SandboxId, error: &sandbox::Error, is_for_people: bool) -> Response {
    if let sandbox::Error::Backend { .. } = error {
        return respond_not_found(id, error, is_for_people);
    }
    tracing::debug!(%id, %error, "no sandbox for a request to a port");
    respond_gone(id, is_for_people)
}

fn respond_gone(id: &SandboxId, is_for_people: bool) -> Response {
    Problem {
        status: StatusCode::BAD_GATEWAY,
        sandbox: id.as_str(),
        port: None,
        message: "The sandbox was not found",
        remedy: "It has ended, is paused, or never existed.",
    }
    .respond(is_for_people)
}

/// A closed port, unless the sandbox has ended meanwhile.
async fn respond_closed(app: &App, found: &Found, port: u16, is_for_people: bool) -> Response {
    let id = &found.info.id;
    match app.sandboxes.find(id).await {
        Ok(now) if now.info.uid == found.info.uid => {}
        Ok(_other_instance) => return respond_gone(id, is_for_people),
        Err(error) => return respond_not_found(id, &error, is_for_people),
    }
    Problem {
        status: StatusCode::BAD_GATEWAY,
        sandbox: id.as_str(),
        port: Some(port),
        message: "The sandbox is running but port is not open",
        remedy: "Start a program that listens on this port, then load this page again.",
    }
    .respond(is_for_people)
}

fn respond_invalid(id: &SandboxId, port: u16, is_for_people: bool) -> Response {
    Problem {
        status: StatusCode::BAD_GATEWAY,
        sandbox: id.as_str(),
        port: Some(port),
        message: "The server in the sandbox sent no valid response",
        remedy: "Does the program on this port speak HTTP? Its response may have too many or too long headers.",
    }
    .respond(is_for_people)
}
