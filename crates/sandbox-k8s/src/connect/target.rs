//! One server, and the ways to it.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use sandbox_core::{Error, Result, SandboxId, SandboxState, Uid};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};

use super::found::Way;
use super::pace::STEP;
use super::{Failed, Learned, Stream, dial, ended, forward, unreachable};
use crate::watch::{Follow, Watch};

/// Between two attempts at what should answer, at first and at most.
const PAUSE: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// From the end of a Pod's first containers to the earliest word of the next: a runtime takes longer.
const SOON: Duration = Duration::from_millis(80);
/// How long one attempt to connect to an address may take, to the server's first byte.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);
/// How long a container that runs may go without answering.
pub(super) const SILENT: Duration = Duration::from_secs(5);

/// The server that is meant.
pub(super) struct Target {
    pub(super) watch: Arc<Watch>,
    pub(super) learned: Arc<Learned>,
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
    pub(super) async fn unless_over<'a, W>(&'a self, work: impl FnOnce(&'a Self) -> W) -> Result<Stream>
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
        Ok(self.follow().next(None).await?.is_some_and(|view| view.address.is_some()))
    }

    async fn dial_address(&self, address: IpAddr) -> Result<Stream, Failed> {
        let address = SocketAddr::new(address, self.port);
        match timeout(ATTEMPT, answering(address)).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => Err(Failed::ForNow(dial(address, error))),
            Err(_elapsed) => {
                Err(Failed::ForNow(unreachable(format!("{address} does not answer within {ATTEMPT:?}"))))
            }
        }
    }

    /// Waits until there is something to dial, and dials until it answers, or until it should
    /// have.
    pub(super) async fn by(&self, way: Way) -> Result<Stream> {
        let follow = self.follow();
        let mut view = follow.next(None).await?;
        let (mut scheduled, mut addressed, mut running) = (None, None, None);
        let (mut next, mut pause, mut attempts) = (None, PAUSE.0, 0);
        let seen_starting = view.as_ref().is_some_and(|view| view.state == SandboxState::Pending);
        if seen_starting {
            self.learned.waits.starts(&self.uid);
        }
        loop {
            let Some(known) = view else { return Err(unreachable("its Pod is gone".into())) };
            let now = Instant::now();
            if known.scheduled.is_some() {
                scheduled.get_or_insert(now);
            }
            if known.state == SandboxState::Running && running.is_none() {
                // What was expected later is due now.
                (running, next, pause) = (Some(now), None, PAUSE.0);
                self.learned.waits.runs(&self.uid);
            }
            if known.address.is_some() && running.is_none() && addressed.is_none() {
                // A Pod has an address before it runs because its first containers have done their
                // work, and the next is on its way.
                addressed = Some(now);
                next = (way == Way::Forward).then(|| now + SOON);
            }
            let due = match (way, known.address, scheduled) {
                (Way::Direct, Some(_), _) => next.unwrap_or(now),
                (Way::Forward, _, Some(_)) if running.is_some() => next.unwrap_or(now),
                (Way::Forward, _, Some(since)) => next.unwrap_or_else(|| since + self.learned.pace.begin()),
                _ => {
                    view = follow.next(Some(&known)).await?;
                    continue;
                }
            };
            if due > now
                && let Ok(news) = timeout_at(due, follow.next(Some(&known))).await
            {
                view = news?;
                continue;
            }
            attempts += 1;
            let begun = Instant::now();
            let attempt = match (way, known.address) {
                (Way::Direct, Some(address)) => self.dial_address(address).left_future(),
                _ => forward::open(&self.watch.caller, self.id.as_str(), self.port).right_future(),
            };
            let error = match attempt.await {
                Ok(stream) => {
                    if let (Way::Forward, true, Some(since)) = (way, seen_starting, scheduled) {
                        self.learned.pace.learn(since.elapsed(), attempts == 1);
                    }
                    return Ok(stream);
                }
                Err(Failed::ForGood(error)) => return Err(error),
                Err(Failed::ForNow(error)) => error,
            };
            if running.is_some_and(|since: Instant| since.elapsed() > SILENT) {
                return Err(error);
            }
            tracing::debug!(sandbox.id = %self.id, ?way, attempts, %error, "it does not listen yet");
            next = Some(match (way, running, addressed, scheduled) {
                (Way::Direct, None, Some(since), _) => begun + ((begun - since) / 4).clamp(PAUSE.0, PAUSE.1),
                (Way::Forward, None, Some(since), _) => begun + ((begun - since) / 4).min(STEP.1),
                (Way::Forward, None, None, Some(since)) => begun + self.learned.pace.step(begun - since),
                _ => {
                    let doubled = (pause * 2).min(PAUSE.1);
                    Instant::now() + std::mem::replace(&mut pause, doubled)
                }
            });
            view = follow.next(None).await?;
        }
    }
}

/// Connects, and waits for the first byte, for an SSH server speaks first: what only accepts
/// proves nothing, as a proxy does that accepts for anybody.
pub(super) async fn answering(address: SocketAddr) -> std::io::Result<TcpStream> {
    let stream = sandbox_tcp::connect(address).await?;
    if stream.peek(&mut [0]).await? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(stream)
}
