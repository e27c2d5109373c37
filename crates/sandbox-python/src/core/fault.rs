//! Errors of the SDK as Python's exceptions have them: a class, a sentence and fields.

use std::error::Error as Cause;

use sandbox::{CommandCause, CreationReason, Error, TransferReason};

use super::kinds::{
    connection_stage, creation_reason, creation_stage, direction, refusal_code, transfer_reason,
};

/// An exception that is not raised yet.
#[derive(Debug)]
pub(crate) struct Fault {
    /// The name of its class in `sandbox_sdk.exceptions`.
    pub(crate) class: &'static str,
    /// The sentence.
    pub(crate) message: String,
    /// The attributes that differ from their defaults.
    pub(crate) fields: Vec<(&'static str, Field)>,
}

/// The value of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Field {
    Bool(bool),
    Int(i64),
    Seconds(f64),
    Text(String),
    /// Bytes that Python decodes as file names.
    Path(Vec<u8>),
    Texts(Vec<String>),
}

/// The most causes that a fault lists: a chain has a handful.
const MAX_CAUSES: usize = 16;

impl Fault {
    pub(crate) fn new(class: &'static str, message: impl Into<String>) -> Self {
        Self {
            class,
            message: message.into(),
            fields: Vec::new(),
        }
    }

    /// The error of a call on something that was closed.
    pub(crate) fn closed(what: &str) -> Self {
        Self::new("ClosedError", format!("{what} is closed"))
    }

    fn set(mut self, name: &'static str, value: Field) -> Self {
        self.fields.push((name, value));
        self
    }

    fn set_text(self, name: &'static str, text: impl Into<String>) -> Self {
        self.set(name, Field::Text(text.into()))
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        let mut fault = describe(&error);
        if let Some(id) = error.sandbox_id() {
            fault = fault.set_text("sandbox_id", id.as_str());
        }
        if error.is_retryable() {
            fault = fault.set("is_retryable", Field::Bool(true));
        }
        if let Some(after) = error.retry_after() {
            fault = fault.set("retry_after", Field::Seconds(after.as_secs_f64()));
        }
        let causes = causes_of(&error);
        if !causes.is_empty() {
            fault = fault.set("causes", Field::Texts(causes));
        }
        fault
    }
}

/// Returns the sentences of the causes, except those that another one repeats.
fn causes_of(error: &Error) -> Vec<String> {
    let mut causes: Vec<String> = Vec::new();
    let mut cause = error.source();
    while let Some(found) = cause.filter(|_| causes.len() < MAX_CAUSES) {
        let text = found.to_string();
        if !text.is_empty() && causes.last() != Some(&text) {
            causes.push(text);
        }
        cause = found.source();
    }
    causes
}

/// Chooses the class, and the fields that only it has.
fn describe(error: &Error) -> Fault {
    let message = error.to_string();
    match error {
        Error::NotFound { .. } => Fault::new("SandboxNotFoundError", message),
        Error::AlreadyExists { .. } => Fault::new("SandboxExistsError", message),
        Error::Creation(creation) => {
            let class = match creation.reason {
                CreationReason::Timeout => "SandboxCreationTimeoutError",
                _ => "SandboxCreationError",
            };
            let events = creation.events.iter();
            Fault::new(class, message)
                .set_text("stage", creation_stage(creation.stage))
                .set_text("reason", creation_reason(creation.reason))
                .set_text("log_tail", creation.log_tail.as_str())
                .set(
                    "events",
                    Field::Texts(
                        events
                            .map(|event| format!("{}: {}", event.kind, event.message))
                            .collect(),
                    ),
                )
        }
        Error::PoolEmpty { reason, .. } => {
            let fault = Fault::new("PoolEmptyError", message);
            match reason {
                Some(reason) => fault.set_text("reason", creation_reason(*reason)),
                None => fault,
            }
        }
        Error::Deletion { .. } => Fault::new("SandboxDeletionError", message),
        Error::Connection(connection) => {
            let fault = Fault::new("SSHConnectionError", message)
                .set_text("stage", connection_stage(connection.stage));
            match &connection.diagnosis {
                Some(diagnosis) => fault.set_text("diagnosis", diagnosis.as_str()),
                None => fault,
            }
        }
        Error::Command { cause, .. } => describe_command(cause, message),
        Error::Transfer(transfer) => {
            let class = match transfer.reason {
                TransferReason::NotFound => "SandboxFileNotFoundError",
                TransferReason::PermissionDenied => "SandboxPermissionError",
                TransferReason::AlreadyExists => "SandboxFileExistsError",
                _ => "FileTransferError",
            };
            Fault::new(class, message)
                .set_text("direction", direction(transfer.direction))
                .set_text("reason", transfer_reason(transfer.reason))
                .set("path", Field::Path(transfer.path.as_bytes().to_vec()))
        }
        Error::Config { .. } => Fault::new("ConfigError", message),
        Error::Invalid {
            argument, value, ..
        } => Fault::new("InvalidArgumentError", message)
            .set_text("argument", argument.as_str())
            .set_text("value", value.as_str()),
        Error::Unsupported(unsupported) => Fault::new("UnsupportedError", message)
            .set_text("operation", unsupported.operation.as_str())
            .set_text("hint", unsupported.hint.as_str()),
        Error::Refused(refusal) => {
            Fault::new("RefusedError", message).set_text("reason", refusal_code(refusal.code))
        }
        Error::Timeout { operation, after } => Fault::new("OperationTimeoutError", message)
            .set_text("operation", *operation)
            .set("timeout", Field::Seconds(after.as_secs_f64())),
        Error::Backend {
            backend, operation, ..
        } => Fault::new("BackendError", message)
            .set_text("backend", *backend)
            .set_text("operation", *operation),
        // The enum can grow: an error of a kind that this crate does not know is still an error of the SDK.
        _ => Fault::new("SandboxError", message),
    }
}

fn describe_command(cause: &CommandCause, message: String) -> Fault {
    let fault =
        |reason| Fault::new("CommandExecutionError", message.clone()).set_text("reason", reason);
    match cause {
        CommandCause::Failed { status, stderr } => fault("failed")
            .set(
                "returncode",
                Field::Int(super::arguments::returncode(status)),
            )
            .set_text("stderr", stderr.as_str()),
        CommandCause::NotStarted { .. } => fault("not-started"),
        CommandCause::TimedOut { after, killed } => Fault::new("CommandTimeoutError", message)
            .set_text("reason", "timed-out")
            .set("timeout", Field::Seconds(after.as_secs_f64()))
            .set("is_killed", Field::Bool(*killed)),
        CommandCause::Lost => fault("lost"),
        CommandCause::AlreadyEnded => fault("already-ended"),
        _ => fault("other"),
    }
}
