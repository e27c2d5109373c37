//! Why a connection was not opened, in the words of each protocol.

use std::io;
use std::net::IpAddr;

use http::StatusCode;
use tokio_rustls::rustls;

use crate::event::EgressOutcome;
use crate::rules::Refusal;
use crate::rules::name::Target;

/// Why a connection was not opened.
#[derive(Debug)]
pub(super) struct Denial {
    cause: Cause,
    pub(super) address: Option<IpAddr>,
}

#[derive(Debug)]
enum Cause {
    Refused(Refusal),
    Unresolved(io::Error),
    Unreachable(io::Error),
}

impl Denial {
    pub(super) fn refused(refusal: Refusal) -> Self {
        Self::new(Cause::Refused(refusal))
    }

    pub(super) fn unresolved(error: io::Error) -> Self {
        Self::new(Cause::Unresolved(error))
    }

    pub(super) fn unreachable(error: io::Error) -> Self {
        Self::new(Cause::Unreachable(error))
    }

    fn new(cause: Cause) -> Self {
        Self {
            cause,
            address: None,
        }
    }

    pub(super) fn at(mut self, address: IpAddr) -> Self {
        self.address = Some(address);
        self
    }

    pub(super) fn outcome(&self) -> EgressOutcome {
        match self.cause {
            Cause::Refused(_) => EgressOutcome::Refused,
            Cause::Unresolved(_) | Cause::Unreachable(_) => EgressOutcome::Failed,
        }
    }

    pub(super) fn rule(&self) -> Option<String> {
        match &self.cause {
            Cause::Refused(refusal) => refusal.rule.as_deref().map(str::to_owned),
            Cause::Unresolved(_) | Cause::Unreachable(_) => None,
        }
    }

    /// The whole reason, for the client.
    pub(super) fn reason(&self) -> String {
        match &self.cause {
            Cause::Refused(refusal) => refusal.reason.clone(),
            Cause::Unresolved(error) => format!("its name cannot be resolved: {error}"),
            Cause::Unreachable(error) => format!("it cannot be reached: {error}"),
        }
    }

    /// The status for the sandbox (RFC 9110 §15).
    pub(super) fn status(&self) -> StatusCode {
        match &self.cause {
            Cause::Refused(_) => StatusCode::FORBIDDEN,
            Cause::Unresolved(error) | Cause::Unreachable(error)
                if error.kind() == io::ErrorKind::TimedOut =>
            {
                StatusCode::GATEWAY_TIMEOUT
            }
            Cause::Unresolved(_) | Cause::Unreachable(_) => StatusCode::BAD_GATEWAY,
        }
    }

    /// The reply for the sandbox (RFC 1928 §6).
    pub(super) fn socks_reply(&self) -> u8 {
        match &self.cause {
            Cause::Refused(_) => 2,
            Cause::Unreachable(error) if error.kind() == io::ErrorKind::ConnectionRefused => 5,
            Cause::Unresolved(_) | Cause::Unreachable(_) => 4,
        }
    }

    /// The message to the sandbox: a line for each of what happened, why, and what to do.
    pub(super) fn message(&self, target: &Target) -> String {
        match &self.cause {
            Cause::Refused(refusal) => {
                let mut message =
                    format!("egress to {target} is refused: {}", refusal.public_reason);
                if let Some(rule) = &refusal.rule {
                    message.push_str(&format!(" ({rule})"));
                }
                message.push('\n');
                if refusal.is_allowable {
                    message.push_str(&format!(
                        "to allow it, create the sandbox with --egress-allow {target} (in code: Egress::allow(\"{target}\"))\n"
                    ));
                }
                message
            }
            Cause::Unresolved(_) => {
                format!("egress to {target} failed: the name cannot be resolved\n")
            }
            Cause::Unreachable(error) if is_about_a_certificate(error) => {
                format!("egress to {target} failed: its certificate is not accepted\n")
            }
            Cause::Unreachable(error) => {
                format!(
                    "egress to {target} failed: it cannot be reached ({})\n",
                    error.kind()
                )
            }
        }
    }
}

fn is_about_a_certificate(error: &io::Error) -> bool {
    let cause = error
        .get_ref()
        .and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}
