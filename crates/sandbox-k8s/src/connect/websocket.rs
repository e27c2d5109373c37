//! Opens WebSockets to the API server, which a Pod's streams are carried in.

use futures_util::{Sink, Stream};
use http::Request;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::client::UpgradeConnectionError;
use sandbox_core::{BoxError, Error};
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use crate::api::classify::{self, FailedResponse, Intent, NextStep};
use crate::api::client::ApiClient;
use crate::api::cluster::{credential_error, redact_credentials};
use crate::api::lost::LostConnection;
use crate::api::request_kind::RequestKind;

/// The status of a response that opens a WebSocket, RFC 6455 §4.1.
const SWITCHING_PROTOCOLS: u16 = 101;

/// A WebSocket.
pub(super) trait Socket:
    Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + Unpin
{
}

impl<S> Socket for S where
    S: Stream<Item = Result<Message, WsError>> + Sink<Message, Error = WsError> + Send + Unpin
{
}

/// A WebSocket to the API server.
pub(super) type BoxSocket = Box<dyn Socket>;

/// Why a WebSocket could not be opened.
pub(super) enum OpenError {
    /// A retry does not help: a permission is missing, or a policy denies the request.
    Final(Error),
    /// The Pod may be ready later, or the API server reachable.
    Transient {
        /// What the API server says.
        message: Option<String>,
        cause: BoxError,
    },
}

/// Opens a WebSocket. `resource` is that of the request, as in RBAC.
pub(super) async fn open(
    api: &ApiClient,
    request: Request<Vec<u8>>,
    resource: &'static str,
) -> Result<BoxSocket, OpenError> {
    let measurement = RequestKind::from_request(&request).start_measurement();
    let connection = api.client.connect(request).await;
    let connection = connection.map_err(|error| judge(api, resource, redact_credentials(error)))?;
    measurement.finish(SWITCHING_PROTOCOLS);
    Ok(Box::new(connection.into_stream()))
}

fn judge(api: &ApiClient, resource: &'static str, error: kube::Error) -> OpenError {
    if let Some(message) = credential_error(&error) {
        return OpenError::Final(Error::Config { message });
    }
    let (code, message) = match &error {
        kube::Error::Api(status) => (Some(status.code), Some(status.message.clone())),
        kube::Error::UpgradeConnection(UpgradeConnectionError::ProtocolSwitch(code)) => {
            (Some(code.as_u16()), None)
        }
        _ => (None, None),
    };
    if matches!(code, Some(401 | 403)) {
        let context = classify::RequestContext {
            intent: Intent::Read,
            verb: "get and create",
            resource,
            namespace: &api.namespace,
            id: None,
            attempt: 0,
        };
        let status = Status {
            message: message.clone(),
            ..Status::default()
        };
        let response = FailedResponse {
            code,
            status: Some(&status),
            ..FailedResponse::default()
        };
        match classify::classify(&context, &response) {
            NextStep::Denied(failure) if api.outage.is_recent() => {
                return OpenError::Transient {
                    message: Some(failure.error.to_string()),
                    cause: Box::new(failure.error),
                };
            }
            NextStep::Denied(failure) | NextStep::Permanent(failure) => {
                return OpenError::Final(failure.error);
            }
            NextStep::Retry { .. }
            | NextStep::CheckNonce
            | NextStep::Missing
            | NextStep::Conflict
            | NextStep::Expired => {}
        }
    }
    let cause: BoxError = if code.is_none() {
        api.outage.record();
        Box::new(LostConnection::from(error))
    } else {
        Box::new(error)
    };
    OpenError::Transient { message, cause }
}
