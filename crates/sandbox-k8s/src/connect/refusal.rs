//! Why the API server did not open a stream to a Pod.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::client::UpgradeConnectionError;
use sandbox_core::{BoxError, Error};

use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::ApiClient;
use crate::api::cluster::{credential_error, redact_credentials};
use crate::api::lost::LostConnection;

/// Why the API server did not switch to the protocol of a stream.
pub(super) enum Refusal {
    /// No attempt will succeed.
    Final(Error),
    /// It answered with another status.
    Status {
        code: u16,
        /// What the API server says; `None` if something else answered.
        message: Option<String>,
        cause: BoxError,
    },
    /// There is no answer.
    Lost(kube::Error),
}

/// What a refusal means for the next attempt.
pub(super) enum OpenError {
    /// A retry does not help: a permission is missing, or a policy denies the request.
    Final(Error),
    /// The same, but so shortly after an outage that the API server may not have read the permissions yet.
    DeniedInOutage(Error),
    /// The Pod may be ready later, or the API server reachable.
    Transient {
        /// What the API server says.
        message: Option<String>,
        cause: BoxError,
    },
}

impl From<kube::Error> for Refusal {
    fn from(error: kube::Error) -> Self {
        let error = redact_credentials(error);
        if let Some(message) = credential_error(&error) {
            return Self::Final(Error::Config { message });
        }
        let (code, message) = match &error {
            kube::Error::Api(status) => (status.code, Some(status.message.clone())),
            kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
                (code.as_u16(), None)
            }
            _ => return Self::Lost(error),
        };
        Self::Status {
            code,
            message,
            cause: Box::new(error),
        }
    }
}

impl Refusal {
    /// Decides whether another attempt may succeed. `resource` is that of the request, as in RBAC.
    pub(super) fn judge(self, api: &ApiClient, resource: &'static str) -> OpenError {
        match self {
            Self::Final(error) => OpenError::Final(error),
            Self::Lost(error) => {
                api.outage.record();
                OpenError::Transient {
                    message: None,
                    cause: Box::new(LostConnection::from(error)),
                }
            }
            Self::Status {
                code,
                message,
                cause,
            } => denial(api, resource, code, message.as_deref())
                .unwrap_or(OpenError::Transient { message, cause }),
        }
    }
}

/// Returns what a missing permission or a policy means; `None` for any other status.
fn denial(
    api: &ApiClient,
    resource: &'static str,
    code: u16,
    message: Option<&str>,
) -> Option<OpenError> {
    if !matches!(code, 401 | 403) {
        return None;
    }
    let context = classify::RequestContext {
        intent: Intent::Read,
        verb: "get and create",
        resource,
        namespace: &api.namespace,
        id: None,
        attempt: 0,
    };
    let status = Status {
        message: message.map(str::to_owned),
        ..Status::default()
    };
    let response = FailedResponse {
        code: Some(code),
        status: Some(&status),
        ..FailedResponse::default()
    };
    match classify::classify(&context, &response) {
        NextStep::Denied(failure) if api.outage.is_recent() => {
            Some(OpenError::DeniedInOutage(failure.error))
        }
        NextStep::Denied(failure) | NextStep::Permanent(failure) => {
            Some(OpenError::Final(failure.error))
        }
        NextStep::Retry { .. }
        | NextStep::CheckNonce
        | NextStep::Missing
        | NextStep::Conflict
        | NextStep::Expired => None,
    }
}
