//! One server, and the ways to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sandbox_core::{Error, Result, SandboxId, SandboxState, Uid};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::attempts::{Attempts, Step};
use super::errors::{AttemptError, dial, ended, unreachable};
use super::port_forward;
use super::route_cache::Route;
use super::state::{ConnectState, Stream};
use crate::observe::watch::{Follow, Watch};

/// How long one attempt to connect to an address may take, to the server's first byte.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);

/// The server that is meant.
pub(super) struct Target {
    pub(super) watch: Arc<Watch>,
    pub(super) learned: Arc<ConnectState>,
    pub(super) id: SandboxId,
    pub(super) uid: Uid,
    pub(super) port: u16,
}

impl Target {
    pub(super) fn follow(&self) -> Follow {
        self.watch.follow(&self.id, &self.uid)
    }

    /// Returns when it will not answer any more.
    pub(super) async fn over(&self) -> Error {
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

    /// What `work` comes to, unless the server ends before.
    pub(super) async fn unless_over<'a, W>(
        &'a self,
        work: impl FnOnce(&'a Self) -> W,
    ) -> Result<Stream>
    where
        W: Future<Output = Result<Stream>> + Send + 'a,
    {
        tokio::select! {
            biased;
            error = self.over() => {
                self.learned.waits.over(&self.uid);
                Err(error)
            }
            stream = work(self) => stream,
        }
    }

    pub(super) async fn is_addressed(&self) -> Result<bool> {
        Ok(self
            .follow()
            .next(None)
            .await?
            .is_some_and(|view| view.address.is_some()))
    }

    async fn dial_address(&self, address: IpAddr) -> Result<Stream, AttemptError> {
        let address = SocketAddr::new(address, self.port);
        match timeout(ATTEMPT, answering(address)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(AttemptError::Transient(dial(address, error))),
            Err(_elapsed) => Err(AttemptError::Transient(unreachable(format!(
                "{address} does not answer within {ATTEMPT:?}"
            )))),
        }
    }

    /// Waits until there is something to dial, and dials until it answers, or until it should
    /// have.
    pub(super) async fn by(&self, way: Route) -> Result<Stream> {
        let follow = self.follow();
        let ConnectState { pace, waits, .. } = &*self.learned;
        let mut view = follow.next(None).await?;
        let starts = view
            .as_ref()
            .is_some_and(|view| view.state == SandboxState::Pending);
        if starts {
            waits.starts(&self.uid);
        }
        let mut dialling = Attempts::new(way, starts);
        loop {
            let Some(known) = view else {
                return Err(unreachable("its Pod is gone".into()));
            };
            dialling.see(&known, Instant::now());
            if dialling.is_running() {
                waits.runs(&self.uid);
            }
            let begun = Instant::now();
            let attempt = match dialling.step(known.address, pace, begun) {
                Step::Wait => {
                    view = follow.next(Some(&known)).await?;
                    continue;
                }
                Step::WaitUntil(due) => {
                    let news = timeout_at(due, follow.next(Some(&known))).await;
                    view = news.unwrap_or(Ok(Some(known)))?;
                    continue;
                }
                Step::DialAddress(address) => self.dial_address(address).left_future(),
                Step::DialPortForward => {
                    port_forward::open(&self.watch.api, self.id.as_str(), self.port).right_future()
                }
            };
            match attempt.await {
                Ok(stream) => {
                    if let Some((took, at_once)) = dialling.answered(Instant::now()) {
                        pace.learn(took, at_once);
                    }
                    return Ok(stream);
                }
                Err(AttemptError::Fatal(error)) => return Err(error),
                Err(AttemptError::Transient(error)) => {
                    if !dialling.failed(begun, pace, Instant::now()) {
                        return Err(error);
                    }
                    tracing::debug!(sandbox.id = %self.id, ?way, %error, "it does not listen yet");
                }
            }
            view = follow.next(None).await?;
        }
    }
}

/// Connects, and waits for the first byte, for an SSH server speaks first: what only accepts
/// proves nothing, as a proxy does that accepts for anybody.
pub(super) async fn answering(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = sandbox_net::connect(address).await?;
    if stream.peek(&mut [0]).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}
