//! What the proxy decided.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use tokio::sync::mpsc;

/// One decision of a [`Proxy`](crate::Proxy), or the end of what it allowed. A connection that is allowed has two events.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct EgressEvent {
    /// When it was decided, or ended.
    pub time: SystemTime,
    /// What happened.
    pub outcome: EgressOutcome,
    /// The name or the address that the sandbox asked for, in normal form. If it has none, this is what the sandbox sent, with
    /// everything unusual escaped and cut to 300 characters.
    pub host: String,
    /// The port; 0 if the sandbox named none.
    pub port: u16,
    /// The address that was connected to, or that was refused.
    pub address: Option<IpAddr>,
    /// The rule that decided, as it was written, with its preset if it is from one.
    pub rule: Option<String>,
    /// Why it was refused, or why it failed.
    pub reason: Option<String>,
    /// Bytes from the sandbox.
    pub sent: u64,
    /// Bytes to the sandbox.
    pub received: u64,
    /// How many events before this one were lost, because they were not taken in time.
    pub lost: u64,
}

/// What happened to a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EgressOutcome {
    /// The rules refuse it.
    Refused,
    /// The rules allow it, but the name has no address, or the connection failed.
    Failed,
    /// It is allowed and open.
    Opened,
    /// It has ended.
    Closed,
    /// It was closed because the rules were replaced by others that refuse it.
    Revoked,
}

impl EgressOutcome {
    /// Its name, in lower case.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Failed => "failed",
            Self::Opened => "opened",
            Self::Closed => "closed",
            Self::Revoked => "revoked",
        }
    }
}

/// Receives the events of a proxy. The proxy never waits for it: if `capacity` events are not taken, the next ones are
/// lost, and the first one after them has their number.
#[derive(Debug)]
pub struct EgressEvents(mpsc::Receiver<EgressEvent>);

impl EgressEvents {
    /// Returns the next event, or `None` once the proxy is gone. Cancelling loses nothing.
    pub async fn next(&mut self) -> Option<EgressEvent> {
        self.0.recv().await
    }
}

/// Where events go. It never blocks.
#[derive(Debug)]
pub(crate) struct Observer {
    sender: Option<mpsc::Sender<EgressEvent>>,
    lost: AtomicU64,
    /// The id of the sandbox, for the log.
    sandbox: Option<String>,
}

impl Observer {
    pub(crate) fn none() -> Self {
        Self {
            sender: None,
            lost: AtomicU64::new(0),
            sandbox: None,
        }
    }

    pub(crate) fn channel(capacity: usize) -> (Self, EgressEvents) {
        let (sender, receiver) = mpsc::channel(capacity.max(1));
        let observer = Self {
            sender: Some(sender),
            lost: AtomicU64::new(0),
            sandbox: None,
        };
        (observer, EgressEvents(receiver))
    }

    pub(crate) fn set_sandbox(&mut self, id: Option<String>) {
        self.sandbox = id;
    }

    /// Reports an event to the log, to the metrics and to the receiver.
    pub(crate) fn report(&self, mut event: EgressEvent) {
        tracing::debug!(
            sandbox.id = self.sandbox,
            outcome = event.outcome.as_str(),
            host = event.host,
            port = event.port,
            address = event.address.map(tracing::field::display),
            rule = event.rule,
            reason = event.reason,
            sent = event.sent,
            received = event.received,
            "egress decided"
        );
        sandbox_core::metrics::count_egress(event.outcome.as_str());
        let Some(sender) = &self.sender else {
            return;
        };
        event.lost = self.lost.swap(0, Ordering::Relaxed);
        if let Err(mpsc::error::TrySendError::Full(event)) = sender.try_send(event) {
            self.lost.fetch_add(event.lost + 1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(port: u16) -> EgressEvent {
        EgressEvent {
            time: SystemTime::UNIX_EPOCH,
            outcome: EgressOutcome::Opened,
            host: "a.example".into(),
            port,
            address: None,
            rule: None,
            reason: None,
            sent: 0,
            received: 0,
            lost: 0,
        }
    }

    #[tokio::test]
    async fn events_that_are_not_taken_are_counted() {
        let (observer, mut events) = Observer::channel(1);
        for port in 1..=3 {
            observer.report(event(port));
        }
        let first = events.next().await.unwrap();
        assert_eq!((first.port, first.lost), (1, 0));
        observer.report(event(4));
        let next = events.next().await.unwrap();
        assert_eq!((next.port, next.lost), (4, 2));
        observer.report(event(5));
        assert_eq!(events.next().await.unwrap().lost, 0);
    }
}
