//! Why a port-forward did not open.

use sandbox_core::{ConnectionStage, Error};

use crate::api::client::ApiClient;
use crate::connect::errors::AttemptError;
use crate::connect::refusal::{OpenError, Refusal};

/// Returns whether another protocol may be accepted: the API server, or a proxy before it, does not know this
/// one, or its method is not permitted.
pub(super) fn may_be_of_the_protocol(refusal: &Refusal) -> bool {
    match refusal {
        // A Pod that cannot be reached yet is a 400 as well. That costs one more request.
        Refusal::Status { code, .. } => matches!(code, 400 | 403 | 405 | 406 | 426 | 501),
        Refusal::Final(_) | Refusal::Lost(_) => false,
    }
}

/// Returns the error of an attempt. A missing permission is final; a Pod may become ready later.
pub(super) fn attempt_error(api: &ApiClient, refusal: Refusal) -> AttemptError {
    match refusal.judge(api, "pods/portforward") {
        OpenError::Final(error) => AttemptError::Fatal(error),
        OpenError::DeniedInOutage(error) => AttemptError::Transient(error),
        OpenError::Transient { cause, .. } => {
            let message = "the API server did not open a port-forward".to_owned();
            AttemptError::Transient(Error::connection(
                ConnectionStage::Dial,
                message,
                Some(cause),
            ))
        }
    }
}

/// The error of a port-forward that opened and delivered nothing.
pub(super) fn no_data_error(why: String) -> AttemptError {
    AttemptError::Transient(Error::connection(ConnectionStage::Dial, why, None))
}
