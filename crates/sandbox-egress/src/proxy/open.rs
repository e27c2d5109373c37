//! From a host and a port to a connection that the rules allow.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::SystemTime;

use sandbox_core::Escaped;
use tokio::time::timeout;

use super::Shared;
use super::denial::Denial;
use super::flow::Grant;
use super::secured::Secured;
use crate::event::{EgressEvent, EgressOutcome};
use crate::intercept::InterceptedHost;
use crate::rules::name::{Host, HostName, Target};
use crate::upstream::ServedUpstream;
use crate::{Egress, Upstream};

/// The most addresses of one name that are looked at.
const MAX_ADDRESSES: usize = 16;
/// The most characters that are kept of what a sandbox sent.
const MAX_TEXT: usize = 300;

impl Shared {
    /// Connects to a target if the rules allow it, and reports it if they do not or if it fails. The address that is
    /// connected to is the one that was checked: a name is resolved once. If the target is intercepted, TLS is spoken on it.
    pub(super) async fn open(&self, target: &Target) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let asked = self
            .ask(target)
            .await
            .inspect_err(|denial| self.report_denial(target, denial))?;
        let opening = async {
            match &target.host {
                Host::Name(name) => self.open_name(target, name, asked).await,
                Host::Address(address) => self.open_literal(target, *address).await,
            }
        };
        self.limit_opening(target, opening).await
    }

    /// Connects to an upstream unless the rules deny it, as [`open`](Self::open) does, and speaks TLS with it.
    pub(super) async fn open_upstream(
        &self,
        upstream: &Arc<ServedUpstream>,
    ) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let target = upstream.target();
        let opening = async {
            let rules = self.rules.borrow().clone();
            let found = match upstream.host() {
                Host::Name(name) => {
                    rules
                        .check_upstream(name, target.port)
                        .map_err(Denial::refused)?;
                    self.resolve(name.as_str())
                        .await
                        .map_err(Denial::unresolved)?
                }
                Host::Address(address) => vec![*address],
            };
            let rule = Arc::clone(upstream.rule());
            let secured = Some(Secured::Upstream(Arc::clone(upstream)));
            self.open_any(&rules, target, found, rule, secured, false)
                .await
        };
        self.limit_opening(target, opening).await
    }

    async fn limit_opening(
        &self,
        target: &Target,
        opening: impl Future<Output = Result<(Box<dyn Upstream>, Grant), Denial>>,
    ) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let limit = self.limits.resolve + self.limits.connect * 2;
        let opened = timeout(limit, opening)
            .await
            .unwrap_or_else(|_| Err(Denial::unreachable(io::ErrorKind::TimedOut.into())));
        opened.inspect_err(|denial| self.report_denial(target, denial))
    }

    async fn open_name(
        &self,
        target: &Target,
        name: &HostName,
        asked: Option<Arc<str>>,
    ) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let rules = self.rules.borrow().clone();
        let is_asked = asked.is_some() && rules.is_undecided(name, target.port);
        let rule = match asked {
            Some(asked) if is_asked => asked,
            // The rules may have been replaced since.
            Some(_) | None => rules
                .check_name(name, target.port)
                .map_err(Denial::refused)?,
        };
        let found = self
            .resolve(name.as_str())
            .await
            .map_err(Denial::unresolved)?;
        let (rule, secured) = match self.find_intercepted(target) {
            Some(host) => {
                let rule = format!("{rule} (with its transform)").into();
                (rule, Some(Secured::Host(Arc::clone(host))))
            }
            None => (rule, None),
        };
        self.open_any(&rules, target, found, rule, secured, is_asked)
            .await
    }

    /// Connects to the first of the addresses that is allowed and answers.
    async fn open_any(
        &self,
        rules: &Egress,
        target: &Target,
        found: Vec<IpAddr>,
        rule: Arc<str>,
        secured: Option<Secured>,
        is_asked: bool,
    ) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let mut refused = None;
        let mut failed = None;
        for address in found {
            let address = address.to_canonical();
            if let Err(refusal) = rules.check_resolved(address, target.port, &self.refused) {
                refused.get_or_insert(Denial::refused(refusal).at(address));
                continue;
            }
            let grant = Grant {
                target: target.clone(),
                address,
                rule: Arc::clone(&rule),
                secured: secured.clone(),
                is_asked,
            };
            match self.connect(&grant).await {
                Ok(stream) => return Ok((stream, grant)),
                Err(error) => {
                    failed.get_or_insert(Denial::unreachable(error).at(address));
                }
            }
        }
        let nothing = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        Err(failed
            .or(refused)
            .unwrap_or_else(|| Denial::unresolved(nothing)))
    }

    async fn open_literal(
        &self,
        target: &Target,
        address: IpAddr,
    ) -> Result<(Box<dyn Upstream>, Grant), Denial> {
        let rules = self.rules.borrow().clone();
        let rule = rules
            .check_literal(address, target.port, &self.refused)
            .map_err(|refusal| Denial::refused(refusal).at(address))?;
        let grant = Grant {
            target: target.clone(),
            address,
            rule,
            secured: None,
            is_asked: false,
        };
        let stream = self
            .connect(&grant)
            .await
            .map_err(|error| Denial::unreachable(error).at(address))?;
        Ok((stream, grant))
    }

    /// The host that a connection is for, if it is intercepted.
    pub(super) fn find_intercepted(&self, target: &Target) -> Option<&Arc<InterceptedHost>> {
        self.interception.as_ref()?.find(target)
    }

    async fn resolve(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        let (name, resolver) = (name.to_owned(), Arc::clone(&self.resolver));
        let lookup = async {
            let slot = self.lookups.acquire().await.ok_or(io::ErrorKind::Other)?;
            // The system's lookup cannot be cancelled, and holds its slot to its end.
            let lookup = tokio::spawn(async move {
                let _slot = slot;
                resolver.resolve(&name).await
            });
            lookup.await.map_err(io::Error::other)?
        };
        let mut found = timeout(self.limits.resolve, lookup)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
        found.truncate(MAX_ADDRESSES);
        Ok(found)
    }

    /// Connects to what was allowed, and speaks TLS if the proxy does that with it.
    pub(super) async fn connect(&self, grant: &Grant) -> io::Result<Box<dyn Upstream>> {
        let address = SocketAddr::new(grant.address, grant.target.port);
        let connecting = async {
            let stream = self.dialer.dial(address).await?;
            match &grant.secured {
                Some(secured) => secured.secure(stream).await,
                None => Ok(stream),
            }
        };
        timeout(self.limits.connect, connecting)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    /// Reports a connection that was not opened, or not left open.
    pub(super) fn report_denial(&self, target: &Target, denial: &Denial) {
        self.observer.report(EgressEvent {
            time: SystemTime::now(),
            outcome: denial.outcome(),
            host: target.host.to_string(),
            port: target.port,
            address: denial.address,
            rule: denial.rule(),
            reason: Some(denial.reason()),
            sent: 0,
            received: 0,
            lost: 0,
        });
    }

    /// Reports that something was refused which names no target.
    pub(super) fn report_unreadable(&self, text: &str, reason: &str) {
        self.observer.report(EgressEvent {
            time: SystemTime::now(),
            outcome: EgressOutcome::Refused,
            host: Escaped::new(text).with_max_chars(MAX_TEXT).to_string(),
            port: 0,
            address: None,
            rule: None,
            reason: Some(reason.to_owned()),
            sent: 0,
            received: 0,
            lost: 0,
        });
    }
}
