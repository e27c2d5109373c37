//! Why a port-forward did not open.

use sandbox_core::{BoxError, ConnectionStage, Error};

use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::ApiClient;
use crate::api::cluster::{credential_error, redact_credentials};
use crate::api::lost::LostConnection;
use crate::connect::errors::AttemptError;

/// Why the API server did not switch to a protocol.
pub(super) enum Refusal {
    /// No attempt will succeed.
    Fatal(Error),
    /// It answered with this status, for this reason.
    Status(u16, BoxError),
    /// There is no answer.
    Lost(kube::Error),
}

impl Refusal {
    /// Returns whether another protocol may be accepted: the API server, or a proxy before it, does not know this
    /// one, or its method is not permitted.
    pub(super) fn may_be_of_the_protocol(&self) -> bool {
        match self {
            // A Pod that cannot be reached yet is a 400 as well. That costs one more request.
            Self::Status(code, _) => matches!(code, 400 | 403 | 405 | 406 | 426 | 501),
            Self::Fatal(_) | Self::Lost(_) => false,
        }
    }

    /// Returns the error of this attempt. A missing permission is final; a Pod may become ready later.
    pub(super) fn into_error(self, api: &ApiClient) -> AttemptError {
        let cause: BoxError = match self {
            Self::Fatal(error) => return AttemptError::Fatal(error),
            Self::Status(code @ (401 | 403), error) => match denied(api, code) {
                Some(denied) if api.outage.is_recent() => return AttemptError::Transient(denied),
                Some(denied) => return AttemptError::Fatal(denied),
                None => error,
            },
            Self::Status(_, error) => error,
            Self::Lost(error) => {
                api.outage.record();
                Box::new(LostConnection::from(error))
            }
        };
        let message = "the API server did not open a port-forward".to_owned();
        AttemptError::Transient(Error::connection(
            ConnectionStage::Dial,
            message,
            Some(cause),
        ))
    }
}

/// Reads the error of a request that should have switched protocols.
pub(super) fn refusal(error: kube::Error) -> Refusal {
    let error = redact_credentials(error);
    if let Some(message) = credential_error(&error) {
        return Refusal::Fatal(Error::Config { message });
    }
    match &error {
        kube::Error::Api(status) => Refusal::Status(status.code, Box::new(error)),
        kube::Error::UpgradeConnection(kube::client::UpgradeConnectionError::ProtocolSwitch(
            code,
        )) => Refusal::Status(code.as_u16(), Box::new(error)),
        _ => Refusal::Lost(error),
    }
}

/// The error of a port-forward that opened and delivered nothing.
pub(super) fn no_data_error(why: String) -> AttemptError {
    AttemptError::Transient(Error::connection(ConnectionStage::Dial, why, None))
}

fn denied(api: &ApiClient, code: u16) -> Option<Error> {
    let context = classify::RequestContext {
        intent: Intent::Read,
        verb: "get and create",
        resource: "pods/portforward",
        namespace: &api.namespace,
        id: None,
        attempt: 0,
    };
    let response = FailedResponse {
        code: Some(code),
        ..FailedResponse::default()
    };
    match classify::classify(&context, &response) {
        NextStep::Denied(failure) => Some(failure.error),
        NextStep::Retry { .. }
        | NextStep::CheckNonce
        | NextStep::Missing
        | NextStep::Conflict
        | NextStep::Expired
        | NextStep::Permanent(_) => None,
    }
}
