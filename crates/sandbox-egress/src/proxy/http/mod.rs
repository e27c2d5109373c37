//! HTTP/1.1 from the sandbox: `CONNECT`, requests for absolute addresses and for upstreams, and requests inside a tunnel to
//! port 80 or to a host that is intercepted.
//!
//! hyper reads and writes the messages on both sides, so what reaches a server was framed here, not by the sandbox.

mod body;
mod headers;
mod named;
mod relinked;
mod responses;
mod upstream;
mod via;

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use http::header::{CONNECTION, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::{TokioIo, TokioTimer};

use self::body::{CountedBody, ResponseBody, text_body};
use self::named::Unserved;
use self::responses::{close, describe, refuse, refuse_upgrade};
use self::upstream::Upstreams;
use self::via::{Unprepared, Via};
use super::denial::Denial;
use super::flow::{Flow, Grant};
use super::relay::relay;
use super::rewound::ClientStream;
use super::{Shared, tunnel};
use crate::Upstream;
use crate::intercept::InterceptedHost;
use crate::rules::Refusal;
use crate::rules::name::Target;

/// Serves a connection from the sandbox until it ends.
pub(super) async fn serve(shared: &Arc<Shared>, client: ClientStream) {
    serve_requests(shared, client, Scope::Proxy, Upstreams::default()).await;
}

/// Serves a tunnel to port 80 until it ends. Each request in it has to be for its target.
///
/// Boxed, because a tunnel is served by the connection that asked for it, which is served here, too.
pub(super) fn serve_tunnel(
    shared: &Arc<Shared>,
    client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    let scope = Scope::Tunnel(grant.target.clone());
    Box::pin(serve_scope(shared, client, upstream, grant, scope))
}

/// Serves what is spoken inside of TLS with a host that is intercepted, as [`serve_tunnel`] does.
pub(super) fn serve_intercepted(
    shared: &Arc<Shared>,
    client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
    host: Arc<InterceptedHost>,
) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
    let scope = Scope::Intercepted(host);
    Box::pin(serve_scope(shared, client, upstream, grant, scope))
}

async fn serve_scope(
    shared: &Arc<Shared>,
    client: ClientStream,
    upstream: Box<dyn Upstream>,
    grant: Grant,
    scope: Scope,
) {
    match Upstreams::with_open(shared, upstream, grant).await {
        Ok(upstreams) => serve_requests(shared, client, scope, upstreams).await,
        Err(error) => tracing::debug!(%error, "connection for HTTP not set up"),
    }
}

/// What the requests of a connection may be for.
#[derive(Debug)]
enum Scope {
    Proxy,
    Tunnel(Target),
    Intercepted(Arc<InterceptedHost>),
}

/// What happens to a connection once its last response is written.
enum Next {
    Tunnel {
        client: OnUpgrade,
        upstream: Box<dyn Upstream>,
        grant: Grant,
    },
    WebSocket {
        client: OnUpgrade,
        upstream: OnUpgrade,
        flow: Arc<Flow>,
    },
}

/// One connection from the sandbox. Its requests are served one after the other.
struct Connection {
    shared: Arc<Shared>,
    scope: Scope,
    upstreams: Upstreams,
    /// What is being served.
    flow: Mutex<Weak<Flow>>,
    next: Mutex<Option<Next>>,
}

async fn serve_requests(
    shared: &Arc<Shared>,
    client: ClientStream,
    scope: Scope,
    upstreams: Upstreams,
) {
    let connection = Arc::new(Connection {
        shared: Arc::clone(shared),
        scope,
        upstreams,
        flow: Mutex::default(),
        next: Mutex::default(),
    });
    let service = {
        let connection = Arc::clone(&connection);
        service_fn(move |request| {
            let connection = Arc::clone(&connection);
            async move { Ok::<_, Infallible>(connection.answer(request).await) }
        })
    };
    let limits = &shared.limits;
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.handshake)
        .max_buf_size(limits.head)
        .max_headers(limits.header_fields)
        .serve_connection(TokioIo::new(client), service)
        .with_upgrades();
    tokio::select! {
        served = serving => {
            if let Err(error) = served {
                tracing::debug!(%error, "HTTP connection to the proxy ended");
            }
        }
        () = connection.wait_until_it_must_end() => return,
    }
    let next = lock(&connection.next).take();
    if let Some(next) = next
        && let Err(error) = next.serve(shared).await
    {
        tracing::debug!(%error, "connection not switched to another protocol");
    }
}

impl Connection {
    async fn answer(&self, request: Request<Incoming>) -> Response<ResponseBody> {
        let has_upstreams = matches!(self.scope, Scope::Proxy) && !self.shared.upstreams.is_empty();
        if has_upstreams && named::is_for_proxy_itself(&request) {
            return self.forward_to_upstream(request).await;
        }
        let is_connect = request.method() == Method::CONNECT;
        let target = match &self.scope {
            Scope::Proxy if is_connect => headers::connect_target(&request),
            Scope::Proxy => headers::absolute_target(&request).and_then(|target| {
                let is_intercepted = self.shared.find_intercepted(&target).is_some();
                // Its secrets are for TLS alone.
                (!is_intercepted)
                    .then_some(target)
                    .ok_or("use CONNECT and TLS for a host that has a transform")
            }),
            Scope::Tunnel(target) => {
                headers::check_tunneled(&request, target).map(|()| target.clone())
            }
            Scope::Intercepted(host) => {
                headers::check_intercepted(&request, host.target()).map(|()| host.target().clone())
            }
        };
        let via = match &self.scope {
            Scope::Proxy | Scope::Tunnel(_) => None,
            Scope::Intercepted(host) => Some(Via::Host(Arc::clone(host))),
        };
        match target {
            Ok(target) if is_connect => self.connect(request, target).await,
            Ok(target) => self.forward(request, target, via).await,
            Err(reason) => self.refuse_malformed(&request.uri().to_string(), reason),
        }
    }

    async fn connect(
        &self,
        mut request: Request<Incoming>,
        target: Target,
    ) -> Response<ResponseBody> {
        match self.shared.open(&target).await {
            Ok((upstream, grant)) => {
                let client = hyper::upgrade::on(&mut request);
                *lock(&self.next) = Some(Next::Tunnel {
                    client,
                    upstream,
                    grant,
                });
                Response::new(text_body(String::new()))
            }
            Err(denial) => refuse(&target, &denial),
        }
    }

    async fn forward_to_upstream(&self, mut request: Request<Incoming>) -> Response<ResponseBody> {
        match named::find_upstream(&self.shared.upstreams, &request) {
            Ok((named, address)) => {
                *request.uri_mut() = address;
                let target = named.upstream.target().clone();
                self.forward(request, target, Some(Via::Upstream(named)))
                    .await
            }
            Err(Unserved::Malformed(reason)) => self.refuse_malformed(request.uri().path(), reason),
            Err(Unserved::Unknown(text)) => {
                self.shared.report_unreadable(request.uri().path(), &text);
                describe(StatusCode::NOT_FOUND, format!("{text}\n"))
            }
        }
    }

    /// Passes a request on to where it is for, with a credential or as the rules allow.
    async fn forward(
        &self,
        mut request: Request<Incoming>,
        target: Target,
        via: Option<Via>,
    ) -> Response<ResponseBody> {
        if let Some(interception) = &self.shared.interception
            && let own = via.as_ref().and_then(Via::host)
            && let Some(reason) = interception.find_stray(request.headers(), own)
        {
            return self.refuse_request(&target, reason);
        }
        let secured = via.as_ref().map(Via::secured);
        let prepared = headers::prepare_request(&mut request, &target, secured.is_some())
            .map_err(Unprepared::Malformed)
            .and_then(|framing| {
                let finish = via.map(|via| via.prepare(&mut request)).transpose()?;
                Ok((framing, finish))
            });
        let (framing, finish) = match prepared {
            Ok(prepared) => prepared,
            Err(Unprepared::Malformed(reason)) => {
                return self.refuse_malformed(&target.to_string(), reason);
            }
            Err(Unprepared::Refused(reason)) => return self.refuse_request(&target, reason),
        };
        let client = framing
            .is_websocket
            .then(|| hyper::upgrade::on(&mut request));
        let request = request.map(CountedBody::from_sandbox);
        let server = match self
            .upstreams
            .take(&self.shared, &target, secured.as_ref(), !framing.is_chunked)
            .await
        {
            Ok(server) => server,
            Err(denial) => return refuse(&target, &denial),
        };
        let grant = server.grant().clone();
        let flow = Flow::new(&self.shared, grant.clone());
        *lock(&self.flow) = Arc::downgrade(&flow);
        // The rules may have been replaced since they were asked.
        if flow.must_end() {
            let replaced = Refusal::malformed("the rules were replaced", "no rule allows it");
            return refuse(&target, &Denial::refused(replaced));
        }
        let answered = self
            .upstreams
            .send(&self.shared, server, request, &flow)
            .await;
        let mut response = match answered {
            Ok(response) => response,
            Err(error) => {
                let denial = Denial::unreachable(std::io::Error::other(error)).at(grant.address);
                self.shared.report_denial(&target, &denial);
                return refuse(&target, &denial);
            }
        };
        let is_upgrade = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        match (is_upgrade, client) {
            (true, Some(client)) => {
                let upstream = hyper::upgrade::on(&mut response);
                *lock(&self.next) = Some(Next::WebSocket {
                    client,
                    upstream,
                    flow: Arc::clone(&flow),
                });
            }
            (true, None) => return refuse_upgrade(&target),
            (false, _) => {}
        }
        headers::prepare_response(response.headers_mut(), is_upgrade);
        if framing.is_chunked {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(CONNECTION, close);
        }
        *response.version_mut() = http::Version::HTTP_11;
        let response = response.map(|body| CountedBody::to_sandbox(body, flow));
        match finish {
            Some(finish) => finish.apply(response),
            None => response.map(BodyExt::boxed_unsync),
        }
    }

    /// Refuses a request because of what is in it.
    fn refuse_request(&self, target: &Target, reason: String) -> Response<ResponseBody> {
        let denial = Denial::refused(Refusal::malformed(reason.clone(), reason));
        self.shared.report_denial(target, &denial);
        refuse(target, &denial)
    }

    fn refuse_malformed(&self, text: &str, reason: &'static str) -> Response<ResponseBody> {
        self.shared.report_unreadable(text, reason);
        let mut response = describe(
            StatusCode::BAD_REQUEST,
            format!("the egress proxy of the sandbox refuses this: {reason}\n"),
        );
        close(&mut response);
        response
    }

    /// Waits until the request that is being served must end.
    async fn wait_until_it_must_end(&self) {
        let mut rules = self.shared.rules.subscribe();
        loop {
            let flow = lock(&self.flow).upgrade();
            if flow.is_some_and(|flow| flow.must_end()) {
                return;
            }
            tokio::select! {
                // The sender is in `shared`.
                _changed = rules.changed() => {}
                () = tokio::time::sleep(self.shared.limits.half_closed) => {}
            }
        }
    }
}

impl Next {
    async fn serve(self, shared: &Arc<Shared>) -> hyper::Result<()> {
        match self {
            Self::Tunnel {
                client,
                upstream,
                grant,
            } => {
                let client = Box::new(TokioIo::new(client.await?));
                tunnel::serve(shared, client, upstream, grant).await;
            }
            Self::WebSocket {
                client,
                upstream,
                flow,
            } => {
                let client = Box::new(TokioIo::new(client.await?));
                let upstream = Box::new(TokioIo::new(upstream.await?));
                relay(&flow, client, upstream).await;
            }
        }
        Ok(())
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
