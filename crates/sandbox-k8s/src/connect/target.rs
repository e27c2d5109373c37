//! Connects to one server by a given route.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sandbox_core::{Error, Result, SandboxId, SandboxState, Uid};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::attempts::{Attempts, Step};
use super::errors::{AttemptError, address_error, describe_end, dial_error};
use super::port_forward;
use super::route_cache::Route;
use super::state::{ConnectState, Stream};
use crate::observe::watch::{Follower, Watch};

/// Timeout of one attempt to connect to an address, until the server's first byte.
pub(super) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// The server to connect to.
pub(super) struct Target {
    pub(super) watch: Arc<Watch>,
    pub(super) state: Arc<ConnectState>,
    pub(super) id: SandboxId,
    pub(super) uid: Uid,
    pub(super) port: u16,
}

impl Target {
    pub(super) fn follow(&self) -> Follower {
        self.watch.follow(&self.id, &self.uid)
    }

    /// Waits until the server cannot respond any more, and returns the reason.
    pub(super) async fn wait_for_end(&self) -> Error {
        let follow = self.follow();
        let mut last = None;
        loop {
            match follow.next(last.as_ref()).await {
                Ok(Some(view)) => {
                    if view.state == SandboxState::Ended {
                        return dial_error(describe_end(&view));
                    }
                    last = Some(view);
                }
                Ok(None) => return dial_error("the Pod does not exist any more".into()),
                Err(error) => return error,
            }
        }
    }

    /// Runs `work` until it completes or the server ends.
    pub(super) async fn run_until_end<'a, W>(
        &'a self,
        work: impl FnOnce(&'a Self) -> W,
    ) -> Result<Stream>
    where
        W: Future<Output = Result<Stream>> + Send + 'a,
    {
        tokio::select! {
            biased;
            error = self.wait_for_end() => {
                self.state.startup_waits.remove(&self.uid);
                Err(error)
            }
            stream = work(self) => stream,
        }
    }

    /// Whether the Pod has an address.
    pub(super) async fn has_address(&self) -> Result<bool> {
        Ok(self
            .follow()
            .next(None)
            .await?
            .is_some_and(|view| view.address.is_some()))
    }

    async fn dial_address(&self, address: IpAddr) -> Result<Stream, AttemptError> {
        let address = SocketAddr::new(address, self.port);
        match timeout(ATTEMPT_TIMEOUT, connect_and_peek(address)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(AttemptError::Transient(address_error(address, error))),
            Err(_elapsed) => Err(AttemptError::Transient(dial_error(format!(
                "{address} does not respond within {ATTEMPT_TIMEOUT:?}"
            )))),
        }
    }

    /// Waits until the Pod can be dialled, and dials it until it responds, or until it should have.
    pub(super) async fn connect_by(&self, route: Route) -> Result<Stream> {
        let follow = self.follow();
        let ConnectState {
            startup_times,
            startup_waits,
            ..
        } = &*self.state;
        let mut view = follow.next(None).await?;
        let is_starting = view
            .as_ref()
            .is_some_and(|view| view.state == SandboxState::Pending);
        if is_starting {
            startup_waits.record_start(&self.uid);
        }
        let mut attempts = if self.state.uploads.is_complete(&self.uid) {
            Attempts::of_running(route, Instant::now())
        } else {
            Attempts::new(route, is_starting)
        };
        loop {
            let Some(current) = view else {
                return Err(dial_error("the Pod does not exist any more".into()));
            };
            attempts.observe(&current, Instant::now());
            if attempts.is_running() {
                startup_waits.record_running(&self.uid);
            }
            let started = Instant::now();
            let attempt = match attempts.next_step(current.address, startup_times, started) {
                Step::Wait => {
                    view = follow.next(Some(&current)).await?;
                    continue;
                }
                Step::WaitUntil(due) => {
                    let change = timeout_at(due, follow.next(Some(&current))).await;
                    view = change.unwrap_or(Ok(Some(current)))?;
                    continue;
                }
                Step::DialAddress(address) => self.dial_address(address).left_future(),
                Step::DialPortForward => {
                    let choice = &self.state.port_forward;
                    port_forward::open(&self.watch.api, choice, self.id.as_str(), self.port)
                        .right_future()
                }
            };
            match attempt.await {
                Ok(stream) => {
                    if let Some((elapsed, at_first_attempt)) = attempts.startup_time(Instant::now())
                    {
                        startup_times.record(elapsed, at_first_attempt);
                    }
                    return Ok(stream);
                }
                Err(AttemptError::Fatal(error)) => return Err(error),
                Err(AttemptError::Transient(error)) => {
                    if !attempts.record_failure(started, startup_times, Instant::now()) {
                        return Err(error);
                    }
                    tracing::debug!(sandbox.id = %self.id, ?route, %error, "sandbox does not listen yet; retrying");
                }
            }
            view = follow.next(None).await?;
        }
    }
}

/// Connects and waits for the first byte, which an SSH server sends on its own. An accepted connection alone
/// proves nothing: some proxies accept connections to every address.
pub(super) async fn connect_and_peek(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = sandbox_net::connect(address).await?;
    if stream.peek(&mut [0]).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}
