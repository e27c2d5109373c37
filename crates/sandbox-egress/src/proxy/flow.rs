//! What was allowed, and what it carried.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::time::Instant;

use super::Shared;
use super::secured::Secured;
use crate::event::{EgressEvent, EgressOutcome};
use crate::rules::name::{Host, Target};

/// That the rules allow a connection, to this address.
#[derive(Debug, Clone)]
pub(super) struct Grant {
    pub(super) target: Target,
    pub(super) address: IpAddr,
    pub(super) rule: Arc<str>,
    /// Who speaks TLS on it, if that is the proxy.
    pub(super) secured: Option<Secured>,
    /// No rule allows it, but who was asked does.
    pub(super) is_asked: bool,
}

impl Grant {
    /// Whether the current rules allow it, too.
    pub(super) fn is_valid(&self, shared: &Shared) -> bool {
        let rules = Arc::clone(&shared.rules.borrow());
        let port = self.target.port;
        let is_address_allowed = || {
            let checked = rules.check_resolved(self.address, port, &shared.refused);
            checked.is_ok()
        };
        match (&self.target.host, &self.secured) {
            (Host::Name(name), None | Some(Secured::Host(_))) => {
                let is_agreed = self.is_asked && rules.is_undecided(name, port);
                (is_agreed || rules.check_name(name, port).is_ok()) && is_address_allowed()
            }
            (Host::Name(name), Some(Secured::Upstream(_))) => {
                rules.check_upstream(name, port).is_ok() && is_address_allowed()
            }
            (Host::Address(_), Some(Secured::Upstream(_))) => is_address_allowed(),
            (Host::Address(address), None | Some(Secured::Host(_))) => {
                rules.check_literal(*address, port, &shared.refused).is_ok()
            }
        }
    }

    /// Whether it is a connection to this target, in the same way. A credential must not get into a connection without TLS,
    /// which the same target has if a request names it with `http:`.
    pub(super) fn is_for(&self, target: &Target, secured: Option<&Secured>) -> bool {
        let is_same = match (&self.secured, secured) {
            (Some(own), Some(other)) => own.is_same(other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        is_same && self.target == *target
    }
}

/// One connection, or one request, that was allowed. Dropping it reports its end.
#[derive(Debug)]
pub(super) struct Flow {
    shared: Arc<Shared>,
    grant: Grant,
    begun: Instant,
    sent: AtomicU64,
    received: AtomicU64,
    /// When it last carried something, in milliseconds after it began.
    touched: AtomicU64,
    is_half_closed: AtomicBool,
    is_revoked: AtomicBool,
}

impl Flow {
    /// Reports that a connection is open.
    pub(super) fn new(shared: &Arc<Shared>, grant: Grant) -> Arc<Self> {
        let flow = Self {
            shared: Arc::clone(shared),
            grant,
            begun: Instant::now(),
            sent: AtomicU64::new(0),
            received: AtomicU64::new(0),
            touched: AtomicU64::new(0),
            is_half_closed: AtomicBool::new(false),
            is_revoked: AtomicBool::new(false),
        };
        flow.report(EgressOutcome::Opened);
        Arc::new(flow)
    }

    pub(super) fn add_sent(&self, bytes: usize) {
        self.add(&self.sent, bytes);
    }

    pub(super) fn add_received(&self, bytes: usize) {
        self.add(&self.received, bytes);
    }

    /// One direction has ended.
    pub(super) fn set_half_closed(&self) {
        self.touch();
        self.is_half_closed.store(true, Ordering::Relaxed);
    }

    /// Whether it must end: the rules refuse it now, or it has been idle for too long.
    pub(super) fn must_end(&self) -> bool {
        if !self.grant.is_valid(&self.shared) {
            self.is_revoked.store(true, Ordering::Relaxed);
            return true;
        }
        self.idle() >= self.idle_limit()
    }

    /// Waits until it must end.
    pub(super) async fn wait_until_it_must_end(&self) {
        let mut rules = self.shared.rules.subscribe();
        while !self.must_end() {
            let pause = self.idle_limit().saturating_sub(self.idle()) + Duration::from_millis(1);
            // A direction that ends meanwhile makes the limit shorter.
            let pause = pause.min(self.shared.limits.half_closed);
            tokio::select! {
                // The sender is in `shared`.
                _changed = rules.changed() => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    fn idle(&self) -> Duration {
        let touched = Duration::from_millis(self.touched.load(Ordering::Relaxed));
        self.begun.elapsed().saturating_sub(touched)
    }

    fn idle_limit(&self) -> Duration {
        if self.is_half_closed.load(Ordering::Relaxed) {
            self.shared.limits.half_closed
        } else {
            self.shared.limits.idle
        }
    }

    fn add(&self, counter: &AtomicU64, bytes: usize) {
        counter.fetch_add(bytes as u64, Ordering::Relaxed);
        self.touch();
    }

    fn touch(&self) {
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.touched.store(now, Ordering::Relaxed);
    }

    fn report(&self, outcome: EgressOutcome) {
        self.shared.observer.report(EgressEvent {
            time: SystemTime::now(),
            outcome,
            host: self.grant.target.host.to_string(),
            port: self.grant.target.port,
            address: Some(self.grant.address),
            rule: Some(self.grant.rule.to_string()),
            reason: None,
            sent: self.sent.load(Ordering::Relaxed),
            received: self.received.load(Ordering::Relaxed),
            lost: 0,
        });
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let sent = self.sent.load(Ordering::Relaxed);
        sandbox_core::metrics::count_egress_bytes(sent, self.received.load(Ordering::Relaxed));
        self.report(if self.is_revoked.load(Ordering::Relaxed) {
            EgressOutcome::Revoked
        } else {
            EgressOutcome::Closed
        });
    }
}
