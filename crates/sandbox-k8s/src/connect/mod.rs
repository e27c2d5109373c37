//! Byte streams to Pods: to their address, or through the API server.

mod attempts;
mod errors;
mod port_forward;
mod route_cache;
mod schedule;
mod state;
mod target;

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use async_trait::async_trait;
use sandbox_core::{Connector, Deadline, Endpoint, Error, Result, SandboxId, Uid};
use tokio::time::timeout;

use crate::manifest::options::Transport;
use crate::observe::watch::Watch;
use attempts::SILENT;
use route_cache::Route;
use state::Stream;
use target::{ATTEMPT, Target, answering};

pub(crate) use errors::no_answer_error;
pub(crate) use state::ConnectState;

/// Opens streams to the Pods of one [`KubernetesBackend`](crate::KubernetesBackend), which makes
/// it. A Pod that starts is dialled as soon as it may answer, and again until it does.
#[derive(Clone)]
pub struct PodConnector {
    watch: Arc<Watch>,
    transport: Transport,
    learned: Arc<ConnectState>,
}

impl PodConnector {
    pub(crate) fn new(watch: Arc<Watch>, transport: Transport, learned: Arc<ConnectState>) -> Self {
        Self {
            watch,
            transport,
            learned,
        }
    }

    /// A stream through the API server, whatever the transport: from there to the Pod nobody
    /// else can answer, for the API server is known by its certificate and the Pod by its name.
    pub(crate) async fn trusted(&self, id: &SandboxId, uid: &Uid, port: u16) -> Result<Stream> {
        self.target(id.clone(), uid.clone(), port)
            .unless_over(|target| target.by(Route::PortForward))
            .await
    }

    fn target(&self, id: SandboxId, uid: Uid, port: u16) -> Target {
        Target {
            watch: Arc::clone(&self.watch),
            learned: Arc::clone(&self.learned),
            id,
            uid,
            port,
        }
    }

    async fn reach(&self, target: &Target) -> Result<Stream> {
        match self.transport {
            Transport::Direct => target.by(Route::Direct).await,
            Transport::PortForward => target.by(Route::PortForward).await,
            Transport::Auto => self.whichever(target).await,
        }
    }

    async fn whichever(&self, target: &Target) -> Result<Stream> {
        match self.learned.found.way() {
            // A Pod that starts may be reached before its address is told.
            Some(Route::Direct) if target.is_addressed().await? => {
                match target.by(Route::Direct).await {
                    Ok(stream) => return Ok(stream),
                    Err(_) => self.learned.found.changed(),
                }
            }
            Some(Route::PortForward) => return target.by(Route::PortForward).await,
            Some(Route::Direct) | None => {}
        }
        let (direct, forward) = (target.by(Route::Direct), target.by(Route::PortForward));
        tokio::pin!(direct, forward);
        tokio::select! {
            stream = &mut direct => match stream {
                Ok(stream) => {
                    self.learned.found.direct();
                    Ok(stream)
                }
                Err(_) => forward.await,
            },
            stream = &mut forward => match stream {
                Ok(stream) => {
                    self.find_out(target);
                    Ok(stream)
                }
                Err(error) => direct.await.map_err(|_| error),
            },
        }
    }

    /// Whether later connections can go to the Pod's address, for that is faster.
    fn find_out(&self, target: &Target) {
        if self.learned.found.way().is_some() {
            return;
        }
        let (learned, follow, port) = (Arc::clone(&self.learned), target.follow(), target.port);
        tokio::spawn(async move {
            let addressed = async {
                let mut seen = None;
                loop {
                    let view = follow.next(seen.as_ref()).await.ok().flatten()?;
                    if let Some(address) = view.address {
                        return Some(SocketAddr::new(address, port));
                    }
                    seen = Some(view);
                }
            };
            let Ok(Some(address)) = timeout(SILENT, addressed).await else {
                return;
            };
            match timeout(ATTEMPT, answering(address)).await {
                Ok(Ok(_)) => learned.found.direct(),
                Ok(Err(_)) | Err(_) => learned.found.no_way(),
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
        let connected = target.unless_over(|target| self.reach(target));
        let connected = deadline.bound("connecting to the Pod", connected).await;
        match (connected, self.learned.waits.exceeded(uid)) {
            (Ok(stream), _) => {
                self.learned.waits.over(uid);
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
        self.learned.waits.exceeded(uid).is_some() || self.watch.is_over(uid)
    }

    /// An address may be another's: one that had it before or has it by now, or a network of
    /// the same numbers. Through the API server there is no such doubt.
    fn report_wrong_server(&self, endpoint: &Endpoint) -> bool {
        let another_way = self.transport == Transport::Auto && self.learned.found.misled();
        if another_way {
            tracing::warn!(
                ?endpoint,
                "at the Pod's address another server answers, or none: going through the API server"
            );
        }
        another_way
    }
}

impl fmt::Debug for PodConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConnector")
            .field("transport", &self.transport)
            .finish_non_exhaustive()
    }
}
