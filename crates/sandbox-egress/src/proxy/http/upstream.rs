//! Connections to HTTP servers. One is kept for the next request of the same connection from the sandbox.

use std::sync::{Arc, Mutex};

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::body::CountedBody;
use super::lock;
use crate::Upstream;
use crate::proxy::Shared;
use crate::proxy::denial::Denial;
use crate::proxy::flow::{Flow, Grant};
use crate::proxy::secured::Secured;
use crate::rules::name::Target;

/// An error, for the log and the event.
pub(super) type SendError = Box<dyn std::error::Error + Send + Sync>;

/// The connections to servers of one connection from the sandbox. Dropping it closes them.
#[derive(Default)]
pub(super) struct Upstreams {
    idle: Mutex<Option<Server>>,
    tasks: Mutex<JoinSet<()>>,
}

/// A connection to a server.
pub(super) struct Server {
    grant: Grant,
    sender: SendRequest<CountedBody>,
    is_used: bool,
}

impl Server {
    pub(super) fn grant(&self) -> &Grant {
        &self.grant
    }
}

impl Upstreams {
    /// Begins with a connection that is already open.
    pub(super) async fn with_open(
        shared: &Arc<Shared>,
        stream: Box<dyn Upstream>,
        grant: Grant,
    ) -> hyper::Result<Self> {
        let upstreams = Self::default();
        let server = upstreams.set_up(shared, stream, grant).await?;
        *lock(&upstreams.idle) = Some(server);
        Ok(upstreams)
    }

    /// Returns a connection that the current rules allow: the one of the former request if it is to the same target and may
    /// be reused, or a new one.
    pub(super) async fn take(
        &self,
        shared: &Arc<Shared>,
        target: &Target,
        secured: Option<&Secured>,
        may_reuse: bool,
    ) -> Result<Server, Denial> {
        let idle = lock(&self.idle).take();
        if let Some(mut server) = idle
            && server.grant.is_for(target, secured)
            && (may_reuse || !server.is_used)
            && server.grant.is_valid(shared)
            && let Ok(Ok(())) = timeout(shared.limits.handshake, server.sender.ready()).await
        {
            return Ok(server);
        }
        let (stream, grant) = match secured {
            Some(Secured::Upstream(upstream)) => shared.open_upstream(upstream).await?,
            Some(Secured::Host(_)) | None => shared.open(target).await?,
        };
        let address = grant.address;
        self.set_up(shared, stream, grant)
            .await
            .map_err(|error| Denial::unreachable(std::io::Error::other(error)).at(address))
    }

    /// Sends a request, and keeps the connection for the next one. If the server closed it while it was idle, and has seen
    /// nothing of the request, a new connection is opened.
    pub(super) async fn send(
        &self,
        shared: &Arc<Shared>,
        mut server: Server,
        mut request: Request<CountedBody>,
        flow: &Arc<Flow>,
    ) -> Result<Response<Incoming>, SendError> {
        request.body_mut().set_flow(Arc::clone(flow));
        let was_used = std::mem::replace(&mut server.is_used, true);
        let limit = shared.limits.idle;
        let failed = match timeout(limit, server.sender.try_send_request(request)).await {
            Ok(Ok(response)) => {
                *lock(&self.idle) = Some(server);
                return Ok(response);
            }
            Ok(Err(failed)) => failed,
            Err(_) => return Err("the server did not answer in time".into()),
        };
        let mut failed = failed;
        let (Some(request), true) = (failed.take_message(), was_used) else {
            return Err(failed.into_error().into());
        };
        let grant = server.grant;
        let stream = shared.connect(&grant).await?;
        let mut server = self.set_up(shared, stream, grant).await?;
        server.is_used = true;
        let response = timeout(limit, server.sender.send_request(request)).await??;
        *lock(&self.idle) = Some(server);
        Ok(response)
    }

    async fn set_up(
        &self,
        shared: &Arc<Shared>,
        stream: Box<dyn Upstream>,
        grant: Grant,
    ) -> hyper::Result<Server> {
        let limits = &shared.limits;
        let (sender, connection) = http1::Builder::new()
            .max_buf_size(limits.head)
            .max_headers(limits.header_fields)
            .handshake(TokioIo::new(stream))
            .await?;
        let mut tasks = lock(&self.tasks);
        while tasks.try_join_next().is_some() {}
        tasks.spawn(async move {
            // Its end is reported to the request that is on it.
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "connection to an HTTP server ended");
            }
        });
        Ok(Server {
            grant,
            sender,
            is_used: false,
        })
    }
}
