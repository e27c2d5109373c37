//! Byte streams to Pods: to their address, or through the API server.

mod forward;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::FutureExt;
use sandbox_core::{ByteStream, ConnectionStage, Connector, Deadline, Endpoint, Error, Result, SandboxState};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout};

use crate::options::Transport;
use crate::status::PodView;
use crate::watch::{Follow, Watch};

/// Opens streams to the Pods of one [`KubernetesBackend`](crate::KubernetesBackend), which makes
/// it. A Pod that starts is dialled from the moment that it can be, and again until it answers.
#[derive(Clone)]
pub struct PodConnector {
    watch: Arc<Watch>,
    transport: Transport,
    /// What [`Transport::Auto`] has found out.
    found: Arc<AtomicU8>,
}

const NOT_KNOWN: u8 = 0;
const DIRECT: u8 = 1;
const FORWARD: u8 = 2;

/// Between two attempts, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// How long one attempt to connect to an address may take.
const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a container that runs may go without answering.
const SILENT: Duration = Duration::from_secs(5);

type Stream = Box<dyn ByteStream>;

/// How a stream gets there.
#[derive(Debug, Clone, Copy)]
enum Way {
    Direct,
    Forward,
}

/// Why one attempt failed.
enum Failed {
    /// It will fail again.
    ForGood(Error),
    ForNow(Error),
}

impl PodConnector {
    pub(crate) fn new(watch: Arc<Watch>, transport: Transport) -> Self {
        Self { watch, transport, found: Arc::default() }
    }

    async fn reach(&self, target: &Target) -> Result<Stream> {
        match self.transport {
            Transport::Direct => target.by(Way::Direct).await,
            Transport::PortForward => target.by(Way::Forward).await,
            Transport::Auto => self.whichever(target).await,
        }
    }

    async fn whichever(&self, target: &Target) -> Result<Stream> {
        match self.found.load(Ordering::Relaxed) {
            // A Pod that starts may be reached before its address is told.
            DIRECT if target.is_addressed().await? => match target.by(Way::Direct).await {
                Ok(stream) => return Ok(stream),
                // The network is another one now.
                Err(_) => self.found.store(NOT_KNOWN, Ordering::Relaxed),
            },
            FORWARD => return target.by(Way::Forward).await,
            _ => {}
        }
        let (direct, forward) = (target.by(Way::Direct), target.by(Way::Forward));
        tokio::pin!(direct, forward);
        tokio::select! {
            stream = &mut direct => match stream {
                Ok(stream) => {
                    self.found.store(DIRECT, Ordering::Relaxed);
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
        let (connector, id, uid) = (self.clone(), target.id.clone(), target.uid.clone());
        let port = target.port;
        tokio::spawn(async move {
            let follow = connector.watch.follow(&id, &uid);
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
            let Ok(Some(address)) = timeout(SILENT, addressed).await else { return };
            let found = match timeout(ATTEMPT, TcpStream::connect(address)).await {
                Ok(Ok(_)) => DIRECT,
                Ok(Err(_)) | Err(_) => FORWARD,
            };
            connector.found.store(found, Ordering::Relaxed);
        });
    }
}

#[async_trait]
impl Connector for PodConnector {
    async fn connect(&self, endpoint: &Endpoint, deadline: Deadline) -> Result<Stream> {
        let unsupported = || {
            Error::unsupported(
                format!("connecting to {endpoint:?}"),
                "the Kubernetes backend",
                "use the connector of the backend that made the sandbox",
            )
        };
        let Endpoint::Pod { namespace, name, uid, port } = endpoint else { return Err(unsupported()) };
        if *namespace != self.watch.caller.namespace {
            return Err(unsupported());
        }
        let target =
            Target { watch: Arc::clone(&self.watch), id: name.parse()?, uid: uid.clone(), port: *port };
        let connected = async {
            tokio::select! {
                biased;
                error = target.over() => Err(error),
                stream = self.reach(&target) => stream,
            }
        };
        deadline.bound("connect to the Pod", connected).await
    }
}

impl fmt::Debug for PodConnector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PodConnector").field("transport", &self.transport).finish_non_exhaustive()
    }
}

/// The server that is meant.
struct Target {
    watch: Arc<Watch>,
    id: sandbox_core::SandboxId,
    uid: sandbox_core::Uid,
    port: u16,
}

impl Target {
    fn follow(&self) -> Follow {
        self.watch.follow(&self.id, &self.uid)
    }

    /// Returns when it will not answer any more.
    async fn over(&self) -> Error {
        let follow = self.follow();
        let mut seen = None;
        loop {
            match follow.next(seen.as_ref()).await {
                Ok(Some(view)) => {
                    if view.state == SandboxState::Ended {
                        return unreachable(ended(&view));
                    }
                    seen = Some(view);
                }
                Ok(None) => return unreachable("its Pod is gone".into()),
                Err(error) => return error,
            }
        }
    }

    async fn is_addressed(&self) -> Result<bool> {
        Ok(self.follow().next(None).await?.is_some_and(|view| view.address.is_some()))
    }

    async fn dial_address(&self, address: IpAddr) -> Result<Stream, Failed> {
        let address = SocketAddr::new(address, self.port);
        match timeout(ATTEMPT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => {
                // Commands are small packets: without it each waits 40 ms for the last.
                stream.set_nodelay(true).map_err(|error| Failed::ForNow(dial(address, error)))?;
                Ok(Box::new(stream))
            }
            Ok(Err(error)) => Err(Failed::ForNow(dial(address, error))),
            Err(_elapsed) => {
                Err(Failed::ForNow(unreachable(format!("{address} does not answer within {ATTEMPT:?}"))))
            }
        }
    }

    /// Waits until there is something to dial, and dials until it answers, or until it should
    /// have.
    async fn by(&self, way: Way) -> Result<Stream> {
        let follow = self.follow();
        let mut view = follow.next(None).await?;
        let mut running: Option<Instant> = None;
        let mut pause = PAUSE.0;
        loop {
            let Some(known) = view else { return Err(unreachable("its Pod is gone".into())) };
            let attempt = match (way, known.address) {
                (Way::Direct, Some(address)) => self.dial_address(address).left_future(),
                (Way::Forward, _) if known.scheduled.is_some() => {
                    forward::open(&self.watch.caller, self.id.as_str(), self.port).right_future()
                }
                _ => {
                    view = follow.next(Some(&known)).await?;
                    continue;
                }
            };
            if known.state == SandboxState::Running {
                running = Some(running.unwrap_or_else(Instant::now));
            }
            let error = match attempt.await {
                Ok(stream) => return Ok(stream),
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow(error)) => error,
            };
            if running.is_some_and(|since| since.elapsed() > SILENT) {
                return Err(error);
            }
            tracing::trace!(sandbox.id = %self.id, %error, "not reachable yet");
            sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
            view = follow.next(None).await?;
        }
    }
}

fn ended(view: &PodView) -> String {
    match &view.trouble {
        Some(trouble) => format!("it has ended: {}", trouble.message),
        None if view.deleting => "it is being deleted".into(),
        None => "it has ended".into(),
    }
}

fn unreachable(message: String) -> Error {
    Error::connection(ConnectionStage::Dial, message, None)
}

fn dial(address: SocketAddr, error: std::io::Error) -> Error {
    let message = match error.kind() {
        std::io::ErrorKind::ConnectionRefused => format!("nothing listens on {address}"),
        _ => format!("{address} cannot be connected to"),
    };
    Error::connection(ConnectionStage::Dial, message, Some(Box::new(error)))
}
