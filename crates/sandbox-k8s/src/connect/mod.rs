//! Byte streams to Pods, to their address or through the API server.

mod attempts;
mod errors;
mod exec;
mod port_forward;
mod refusal;
mod route_cache;
mod schedule;
mod state;
mod target;
mod upload;
mod uploads;
mod websocket;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sandbox_core::{Connector, Deadline, Endpoint, Error, Result, SandboxId, Uid};
use tokio::time::timeout;

use crate::manifest::options::Transport;
use crate::observe::watch::Watch;
use attempts::RESPONSE_TIMEOUT;
use route_cache::Route;
use state::Stream;
use target::{ATTEMPT_TIMEOUT, Target, connect_and_peek};

pub(crate) use errors::no_answer_error;
pub(crate) use state::ConnectState;

/// Opens streams to the Pods of one [`KubernetesBackend`](crate::KubernetesBackend); see its method
/// [`connector`](crate::KubernetesBackend::connector). A Pod that starts is dialled as soon as it may respond,
/// and again until it does.
#[derive(Clone)]
pub struct PodConnector {
    watch: Arc<Watch>,
    transport: Transport,
    state: Arc<ConnectState>,
}

impl PodConnector {
    pub(crate) fn new(watch: Arc<Watch>, transport: Transport, state: Arc<ConnectState>) -> Self {
        Self {
            watch,
            transport,
            state,
        }
    }

    /// Opens a stream through the API server, whatever the transport is. No other server can respond there:
    /// the API server is authenticated by its certificate, and finds the Pod by its name.
    pub(crate) async fn open_via_api_server(
        &self,
        id: &SandboxId,
        uid: &Uid,
        port: u16,
    ) -> Result<Stream> {
        self.target(id.clone(), uid.clone(), port)
            .run_until_end(|target| target.connect_by(Route::PortForward))
            .await
    }

    fn target(&self, id: SandboxId, uid: Uid, port: u16) -> Target {
        Target {
            watch: Arc::clone(&self.watch),
            state: Arc::clone(&self.state),
            id,
            uid,
            port,
        }
    }

    async fn connect_to(&self, target: &Target) -> Result<Stream> {
        self.state.uploads.wait(&target.uid).await?;
        match self.transport {
            Transport::Direct => target.connect_by(Route::Direct).await,
            Transport::PortForward => target.connect_by(Route::PortForward).await,
            Transport::Auto => self.race_routes(target).await,
        }
    }

    /// Uses the cached route, or tries both routes at the same time.
    async fn race_routes(&self, target: &Target) -> Result<Stream> {
        match self.state.route_cache.route() {
            // The API server may reach a Pod that starts before its address is reported.
            Some(Route::Direct) if target.has_address().await? => {
                match target.connect_by(Route::Direct).await {
                    Ok(stream) => return Ok(stream),
                    Err(_) => self.state.route_cache.clear(),
                }
            }
            Some(Route::PortForward) => return target.connect_by(Route::PortForward).await,
            Some(Route::Direct) | None => {}
        }
        let direct = target.connect_by(Route::Direct);
        let forward = target.connect_by(Route::PortForward);
        tokio::pin!(direct, forward);
        tokio::select! {
            stream = &mut direct => match stream {
                Ok(stream) => {
                    self.state.route_cache.record_direct();
                    Ok(stream)
                }
                Err(_) => forward.await,
            },
            stream = &mut forward => match stream {
                Ok(stream) => {
                    self.probe_direct_route(target);
                    Ok(stream)
                }
                Err(error) => direct.await.map_err(|_| error),
            },
        }
    }

    /// Finds out in the background whether later connections can use the direct route, which is faster.
    fn probe_direct_route(&self, target: &Target) {
        if self.state.route_cache.route().is_some() {
            return;
        }
        let state = Arc::clone(&self.state);
        let follow = target.follow();
        let port = target.port;
        tokio::spawn(async move {
            let address = async {
                let mut last = None;
                loop {
                    let view = follow.next(last.as_ref()).await.ok().flatten()?;
                    if let Some(address) = view.address {
                        return Some(SocketAddr::new(address, port));
                    }
                    last = Some(view);
                }
            };
            let Ok(Some(address)) = timeout(RESPONSE_TIMEOUT, address).await else {
                return;
            };
            match timeout(ATTEMPT_TIMEOUT, connect_and_peek(address)).await {
                Ok(Ok(_)) => state.route_cache.record_direct(),
                Ok(Err(_)) | Err(_) => state.route_cache.record_unreachable(),
            }
        });
    }
}

#[async_trait]
impl Connector for PodConnector {
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Stream> {
        let unsupported = || {
            Error::unsupported(
                format!("the endpoint {endpoint:?}"),
                "the Kubernetes backend",
                "use the connector of the sandbox's backend",
            )
        };
        let Endpoint::Pod {
            namespace,
            name,
            uid,
            port,
        } = endpoint
        else {
            return Err(unsupported());
        };
        if *namespace != self.watch.api.namespace {
            return Err(unsupported());
        }
        let target = self.target(name.parse()?, uid.clone(), *port);
        // Boxed, because several routes are tried at once: see `Target::connect_by`.
        let connected = target.run_until_end(|target| Box::pin(self.connect_to(target)));
        let connected = deadline.bound("connecting to the Pod", connected).await;
        match (connected, self.state.startup_waits.exceeded_grace(uid)) {
            (Ok(stream), _) => {
                self.state.startup_waits.remove(uid);
                Ok(stream)
            }
            (Err(error), Some(grace)) if error.is_unreachable() => {
                Err(no_answer_error(*port, grace, error))
            }
            (Err(error), _) => Err(error),
        }
    }

    fn should_stop_retrying(&self, endpoint: &Endpoint) -> bool {
        let Endpoint::Pod { uid, .. } = endpoint else {
            return false;
        };
        self.state.startup_waits.exceeded_grace(uid).is_some() || self.watch.has_ended(uid)
    }

    /// Another server may have the Pod's address: another Pod before or after it, or a host of another network
    /// with the same addresses. Through the API server that cannot happen.
    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        let switches_route =
            self.transport == Transport::Auto && self.state.route_cache.record_wrong_server();
        if switches_route {
            tracing::warn!(
                ?endpoint,
                "wrong or no server at the Pod's address; using port-forward"
            );
        }
        switches_route
    }
}

impl fmt::Debug for PodConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConnector")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
