//! Errors of requests that start something, and of what they have started.

use sandbox_core::guest::{Refusal, RefusalCode};
use sandbox_core::{BoxError, CommandCause, ConnectionStage, Error};

pub(super) fn not_sent_error(message: &str) -> Error {
    Error::connection(ConnectionStage::Channel, message, None)
}

/// The server refused the request that starts something, or that attaches to this job. Such a request of this client is
/// well-formed, so there is no such job.
pub(super) fn refused_error(attached_job: Option<&str>, server: &str) -> Error {
    match attached_job {
        Some(id) => Error::Refused(Box::new(Refusal::new(
            RefusalCode::NotFound,
            format!("there is no job {id} in the sandbox; list its jobs"),
        ))),
        None => not_started_error(format!(
            "the server ({server}) refused the request; it may be set up for something else, such as files only"
        )),
    }
}

pub(super) fn not_started_error(message: String) -> Error {
    command_error(CommandCause::NotStarted { message }, None)
}

pub(super) fn lost_error(why: &str) -> Error {
    command_error(CommandCause::Lost, Some(why.to_owned().into()))
}

pub(super) fn command_error(cause: CommandCause, source: Option<BoxError>) -> Error {
    Error::Command { cause, source }
}

pub(super) fn env_refused_error(name: &str, server: &str) -> Error {
    Error::unsupported_because(
        format!("setting the environment variable {name}"),
        format!("the server ({server})"),
        "it refused the variable, and its shell cannot export this name",
        format!("add `AcceptEnv {name}` to its sshd_config, or use sandbox-sshd in the sandbox"),
    )
}

pub(super) fn pty_refused_error(server: &str) -> Error {
    Error::unsupported(
        "terminals",
        format!("the server ({server})"),
        "run the command without one, or let the sandbox have /dev/pts and the server permit it (PermitTTY)",
    )
}
