//! A decision, as it is recorded and printed.

use std::net::IpAddr;

use sandbox::{EgressEvent, EgressOutcome, rfc3339};
use serde::{Deserialize, Serialize};

use crate::ui::printable::Printable;

/// A decision about one connection, or the end of what was allowed. Hosts come from the sandbox.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Decision {
    time: String,
    outcome: String,
    pub(super) host: String,
    port: u16,
    address: Option<IpAddr>,
    rule: Option<String>,
    reason: Option<String>,
    sent: u64,
    received: u64,
    lost: u64,
}

impl Decision {
    pub(crate) fn new(event: &EgressEvent) -> Self {
        Self {
            time: rfc3339(event.time),
            outcome: event.outcome.as_str().to_owned(),
            host: event.host.clone(),
            port: event.port,
            address: event.address,
            rule: event.rule.clone(),
            reason: event.reason.clone(),
            sent: event.sent,
            received: event.received,
            lost: event.lost,
        }
    }

    /// As a line of JSON, without its line break.
    ///
    /// # Errors
    ///
    /// None in practice: all fields can be written.
    pub(super) fn to_json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }

    /// As a line of JSON, for the output of this program.
    ///
    /// # Errors
    ///
    /// As [`Printable::json_line`].
    pub(crate) fn format_json(&self) -> anyhow::Result<Printable> {
        Printable::json_line(self)
    }

    /// For people.
    pub(crate) fn format(&self) -> Printable {
        let Self {
            time,
            outcome,
            host,
            port,
            ..
        } = self;
        let mut text = format!("{time} {outcome} {host}:{port}");
        if let Some(address) = self.address {
            text.push_str(&format!(" {address}"));
        }
        if let Some(reason) = self.reason.as_ref().or(self.rule.as_ref()) {
            text.push_str(&format!(" ({reason})"));
        }
        let has_ended = [EgressOutcome::Closed, EgressOutcome::Revoked]
            .iter()
            .any(|ended| ended.as_str() == outcome);
        if has_ended {
            text.push_str(&format!(" {} bytes out, {} in", self.sent, self.received));
        }
        if self.lost > 0 {
            text.push_str(&format!(
                " [{} decisions before were not recorded]",
                self.lost
            ));
        }
        Printable::line(&text)
    }
}
