//! What callers are told about failures of the SDK.

use http::StatusCode;
use sandbox::{CreationReason, Error};

use crate::api_error::{ApiError, RETRY_AFTER};

/// Converts a failure, and logs it if it is not the caller's.
pub(super) fn describe(error: &Error) -> ApiError {
    let described = convert(error);
    if described.status().is_server_error() {
        tracing::warn!(error = %chain(error), "request failed");
    }
    described
}

fn convert(error: &Error) -> ApiError {
    let message = error.to_string();
    match error {
        Error::NotFound { id } => ApiError::no_sandbox(id.as_str()),
        Error::AlreadyExists { .. } => ApiError::new(StatusCode::CONFLICT, message),
        Error::Invalid { .. } => ApiError::bad_request(message),
        Error::Unsupported(_) => ApiError::new(StatusCode::NOT_IMPLEMENTED, message).never_retry(),
        Error::Creation(creation) => convert_creation(creation.reason, message),
        Error::PoolEmpty { .. } => unavailable(message),
        Error::Timeout { .. } => ApiError::new(StatusCode::GATEWAY_TIMEOUT, message),
        other if other.is_retryable() => unavailable(message),
        _permanent => ApiError::internal(message).never_retry(),
    }
}

fn convert_creation(reason: CreationReason, message: String) -> ApiError {
    match reason {
        CreationReason::Unschedulable | CreationReason::Quota => {
            unavailable(message).with_error_code("no_capacity")
        }
        CreationReason::Evicted | CreationReason::Unavailable => unavailable(message),
        // The same creation would take as long again.
        CreationReason::Timeout => {
            ApiError::new(StatusCode::GATEWAY_TIMEOUT, message).never_retry()
        }
        CreationReason::ImagePull
        | CreationReason::Rejected
        | CreationReason::Isolation
        | CreationReason::NotEnforced
        | CreationReason::Crashed
        | CreationReason::Unreachable
        | CreationReason::Setup
        | CreationReason::Other => ApiError::internal(message).never_retry(),
        _new_reason => ApiError::internal(message).never_retry(),
    }
}

fn unavailable(message: String) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, message).retry_after(RETRY_AFTER)
}

/// An error with its causes.
fn chain(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// The result of a request.
pub(super) type ApiResult<T> = Result<T, ApiError>;

/// Makes a failure of the SDK one of the API.
pub(super) trait Described<T> {
    /// Converts the failure.
    fn described(self) -> ApiResult<T>;
}

impl<T> Described<T> for sandbox::Result<T> {
    fn described(self) -> ApiResult<T> {
        self.map_err(|error| describe(&error))
    }
}
