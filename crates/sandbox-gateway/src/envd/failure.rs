//! Why a request to a sandbox fails, and the responses that say so.

use axum::response::{IntoResponse, Response};
use http::StatusCode;
use sandbox::{Error, Refusal, RefusalCode, SandboxId};

use crate::api_error::{ApiError, sandbox_gone};
use crate::app::App;
use crate::connect::{CallKind, Code, ConnectError};
use crate::sandboxes::Found;

/// Why a request to a sandbox fails.
#[derive(Debug)]
pub(super) enum Failure {
    /// The sandbox with this id has ended, is paused, or never was.
    Gone(String),
    /// Its disk is full, which `/files` has a status of its own for.
    NoSpace(String),
    /// Anything else.
    Call(ConnectError),
}

impl Failure {
    /// A failure with this code.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self::Call(ConnectError::new(code, message))
    }

    /// A request that is wrong by itself.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidArgument, message)
    }

    /// The response to a call of this kind.
    pub(super) fn into_call_response(self, kind: CallKind) -> Response {
        match self {
            Self::Gone(id) => sandbox_gone(&id),
            failure => kind.error_response(failure.into_connect_error()),
        }
    }

    /// The error of a call.
    pub(super) fn into_connect_error(self) -> ConnectError {
        match self {
            Self::Gone(_) => ConnectError::new(Code::Unavailable, "The sandbox was not found"),
            Self::NoSpace(message) => ConnectError::new(Code::ResourceExhausted, message),
            Self::Call(error) => error,
        }
    }
}

/// The response to a request that is no call.
impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match self {
            Self::Gone(id) => sandbox_gone(&id),
            Self::NoSpace(message) => {
                ApiError::new(StatusCode::INSUFFICIENT_STORAGE, message).into_response()
            }
            Self::Call(error) => ApiError::new(error.code.status(), error.message).into_response(),
        }
    }
}

impl From<ConnectError> for Failure {
    fn from(error: ConnectError) -> Self {
        Self::Call(error)
    }
}

/// Explains an error of an operation in this sandbox. One of its connection may be the sandbox's end.
pub(super) async fn explain(app: &App, found: &Found, error: Error) -> Failure {
    let id = &found.info.id;
    match error {
        Error::Refused(refusal) => explain_refusal(id, *refusal),
        Error::NotFound { .. } => {
            app.sandboxes.forget(&found.info.uid);
            Failure::Gone(id.to_string())
        }
        Error::Unsupported(error) => Failure::new(Code::Unimplemented, error.to_string()),
        Error::Invalid { .. } => Failure::invalid(error.to_string()),
        // Only a list that is too long, or a name that no file can have.
        Error::Transfer(error) => Failure::new(Code::ResourceExhausted, error.to_string()),
        error if has_ended(app, found).await => {
            tracing::debug!(%id, %error, "sandbox gone during a request");
            app.sandboxes.forget(&found.info.uid);
            Failure::Gone(id.to_string())
        }
        error => {
            tracing::warn!(%id, %error, "sandbox not reached");
            Failure::new(
                Code::Unavailable,
                "the sandbox cannot be reached; try again",
            )
        }
    }
}

/// Whether this instance has ended, as far as the backend knows.
pub(super) async fn has_ended(app: &App, found: &Found) -> bool {
    match app.sandboxes.find(&found.info.id).await {
        Ok(now) => now.info.uid != found.info.uid || now.info.state == sandbox::SandboxState::Ended,
        Err(error) => matches!(error, Error::NotFound { .. }),
    }
}

fn explain_refusal(id: &SandboxId, refusal: Refusal) -> Failure {
    let code = match refusal.code {
        RefusalCode::Paused => return Failure::Gone(id.to_string()),
        RefusalCode::NoSpace => return Failure::NoSpace(refusal.message),
        RefusalCode::NotFound => Code::NotFound,
        RefusalCode::AlreadyExists => Code::AlreadyExists,
        RefusalCode::Invalid | RefusalCode::NotADirectory | RefusalCode::IsADirectory => {
            Code::InvalidArgument
        }
        RefusalCode::PermissionDenied => Code::PermissionDenied,
        RefusalCode::UnknownUser => Code::Unauthenticated,
        RefusalCode::LimitReached | RefusalCode::TooSlow => Code::ResourceExhausted,
        RefusalCode::TimedOut => Code::DeadlineExceeded,
        RefusalCode::Unsupported => Code::Unimplemented,
        // `Other`, and what later versions may add.
        _other => Code::Internal,
    };
    Failure::new(code, refusal.message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_the_codes_that_the_sdks_expect() {
        let id: SandboxId = "abc".parse().unwrap();
        let status = |code| {
            let refusal = Refusal::new(code, "m");
            let failure = explain_refusal(&id, refusal.clone());
            let http = failure.into_response().status().as_u16();
            let call = explain_refusal(&id, refusal).into_call_response(CallKind::Unary);
            (http, call.status().as_u16())
        };
        let cases = [
            (RefusalCode::NotFound, (404, 404)),
            (RefusalCode::AlreadyExists, (409, 409)),
            (RefusalCode::Invalid, (400, 400)),
            (RefusalCode::IsADirectory, (400, 400)),
            (RefusalCode::NotADirectory, (400, 400)),
            (RefusalCode::PermissionDenied, (403, 403)),
            (RefusalCode::UnknownUser, (401, 401)),
            (RefusalCode::NoSpace, (507, 429)),
            (RefusalCode::LimitReached, (429, 429)),
            (RefusalCode::TimedOut, (504, 504)),
            (RefusalCode::Unsupported, (501, 501)),
            (RefusalCode::Paused, (502, 502)),
            (RefusalCode::Other, (500, 500)),
        ];
        for (code, expected) in cases {
            assert_eq!(status(code), expected, "{code:?}");
        }
    }
}
