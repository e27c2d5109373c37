//! The variables by which the SDK's own client passes parameters (see [`protocol`]).

use std::time::Duration;

use sandbox_core::{ExecRequest, protocol};

use super::claim::ClaimVariables;

/// The variables by which the SDK's own client passes parameters (see [`protocol`]).
#[derive(Default)]
pub(super) struct Parameters {
    pub(super) job: Option<String>,
    pub(super) offset: Option<String>,
    pub(super) follow: Option<String>,
    pub(super) extend: Option<String>,
    /// The beginning of the command line.
    pub(super) command: Vec<u8>,
    pub(super) output_grace: Option<String>,
    pub(super) ttl: Option<String>,
    pub(super) claim: ClaimVariables,
}

/// What a client asks of the sandbox's lifetime.
pub(super) enum NewLifetime {
    /// To live at least this long from now on.
    Extended(Duration),
    /// To end this long from now.
    Started(Duration),
}

impl Parameters {
    /// Sets a parameter, and returns whether its value is valid; `None` if the variable is no parameter.
    pub(super) fn set(&mut self, name: &str, value: &str) -> Option<bool> {
        let parameter = match name {
            protocol::JOB => &mut self.job,
            protocol::JOB_OFFSET => &mut self.offset,
            protocol::JOB_FOLLOW => &mut self.follow,
            protocol::EXTEND_SECONDS => &mut self.extend,
            protocol::TTL_SECONDS => &mut self.ttl,
            protocol::CLAIM_KEY => &mut self.claim.key,
            protocol::CLAIM_ATTACH_SECONDS => &mut self.claim.attach,
            protocol::CLAIM_MAX_SECONDS => &mut self.claim.max,
            protocol::OUTPUT_GRACE_MS => &mut self.output_grace,
            protocol::COMMAND_PART => {
                let part = protocol::decode_command_part(value);
                let is_valid = part.is_some();
                self.command.extend(part.unwrap_or_default());
                return Some(is_valid);
            }
            _ => return None,
        };
        *parameter = Some(value.to_owned());
        Some(true)
    }

    /// How long the output of the command is read after its end, if the client has chosen.
    pub(super) fn output_grace(&self) -> Option<Duration> {
        let milliseconds = self.output_grace.as_deref()?.parse().ok()?;
        Some(Duration::from_millis(milliseconds).min(ExecRequest::MAX_OUTPUT_GRACE))
    }

    /// How long the client wants the sandbox to live from now on. `None` unless exactly one of the
    /// two variables is a number of seconds.
    pub(super) fn new_lifetime(&self) -> Option<NewLifetime> {
        let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
        match (&self.extend, &self.ttl) {
            (Some(time), None) => seconds(time).map(NewLifetime::Extended),
            (None, Some(ttl)) => seconds(ttl).map(NewLifetime::Started),
            (None, None) | (Some(_), Some(_)) => None,
        }
    }
}
