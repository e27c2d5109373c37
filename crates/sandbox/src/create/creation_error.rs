//! Builds the errors of the three steps of a creation.

use std::time::SystemTime;

use sandbox_core::{
    ConnectionStage, CreationError, CreationReason, CreationStage, Diagnosis, Error, SandboxEvent,
    SandboxEventKind, SandboxId, SandboxInfo,
};

use crate::handle::egress::UNVERIFIED_HINT;
use crate::handle::egress::proof::Unproved;

/// Adds the sandbox and its events to the error of a backend that did not create the sandbox in
/// time. Other errors stay as they are.
pub(super) fn provision_error(
    id: Option<&SandboxId>,
    error: Error,
    events: impl FnOnce() -> Vec<SandboxEvent>,
) -> Error {
    match (id, error) {
        (Some(id), error @ Error::Timeout { .. }) => CreationError {
            id: id.clone(),
            stage: CreationStage::Provision,
            reason: CreationReason::Timeout,
            message: error.to_string(),
            events: events(),
            log_tail: String::new(),
            source: None,
        }
        .into(),
        (_, error) => error,
    }
}

/// Creates the error of a sandbox to which no session could be opened. If the backend knows why,
/// its diagnosis is the message, else the error of the connection. `has_timed_out` says whether the
/// creation had no time left.
pub(super) fn connect_error(
    info: &SandboxInfo,
    error: Error,
    events: Vec<SandboxEvent>,
    diagnosis: Option<Diagnosis>,
    has_timed_out: bool,
) -> CreationError {
    let mut diagnosis = diagnosis.unwrap_or_default();
    let is_started = events
        .iter()
        .any(|event| event.kind == SandboxEventKind::Started);
    let failed = events
        .last()
        .filter(|event| event.kind.is_final())
        .map(|event| event.message.clone());
    let has_timed_out = has_timed_out || matches!(error, Error::Timeout { .. });
    if diagnosis.reason.is_none()
        && failed.is_none()
        && !is_started
        && let Some(warning) = last_warning(&events)
    {
        // A busy backend may not have found the cause a second time.
        diagnosis.reason = Some(CreationReason::Other);
        diagnosis.summary = warning.to_owned();
    }
    let summary = Some(diagnosis.summary).filter(|summary| !summary.is_empty());
    // No sandbox can be reached, for example because a permission to connect is missing.
    let is_refused = matches!(
        error,
        Error::Backend {
            transient: false,
            ..
        }
    );
    let reason = diagnosis.reason.unwrap_or(match failed {
        Some(_) if is_started => CreationReason::Crashed,
        Some(_) => CreationReason::Other,
        None if is_refused => CreationReason::Rejected,
        None if !is_started && !has_timed_out => CreationReason::Other,
        None if !is_started => CreationReason::Timeout,
        None => CreationReason::Unreachable,
    });
    let (message, source) = match error {
        Error::Timeout { after, .. } if is_started => {
            (format!("SSH did not answer within {after:?}"), None)
        }
        Error::Connection(inner) if inner.stage == ConnectionStage::Dial => (
            format!("SSH does not answer: {}", inner.message),
            inner.source,
        ),
        // The server did answer, so the message of the connection is precise enough.
        Error::Connection(inner) => (inner.message, inner.source),
        other => (other.to_string(), None),
    };
    let (message, source) = match (failed, summary) {
        // Without a reason the summary describes only how far the sandbox has come. The final event
        // is more precise.
        (Some(failed), Some(_)) if diagnosis.reason.is_none() && !failed.is_empty() => {
            (failed, None)
        }
        // The sandbox has ended, so the error of the connection does not matter.
        (Some(_), Some(summary)) => (summary, None),
        (Some(failed), None) => (failed, None),
        (None, _) if is_refused => (message, source),
        (None, Some(summary)) if diagnosis.is_final || message.contains(&summary) => {
            (summary, None)
        }
        (None, Some(summary)) if is_started => (format!("{message} ({summary})"), source),
        (None, Some(summary)) if has_timed_out => (format!("not ready in time: {summary}"), source),
        (None, Some(summary)) => (summary, source),
        (None, None) => (message, source),
    };
    let events = match (events.is_empty(), diagnosis.events.is_empty()) {
        (false, true) => events,
        (false, false) => merge(events, diagnosis.events),
        (true, _) => diagnosis.events,
    };
    let stage = if is_started || is_refused {
        CreationStage::Connect
    } else {
        CreationStage::Provision
    };
    CreationError {
        id: info.id.clone(),
        stage,
        reason,
        message,
        events,
        log_tail: diagnosis.log_tail,
        source,
    }
}

/// Creates the error of a sandbox that could not be kept from the network.
pub(crate) fn isolate_error(
    info: &SandboxInfo,
    unproved: Unproved,
    events: Vec<SandboxEvent>,
) -> CreationError {
    let (reason, message, source) = match unproved {
        Unproved::Reaches(message) => (
            CreationReason::NotEnforced,
            format!("{message}, {UNVERIFIED_HINT}"),
            None,
        ),
        Unproved::Failed(error) => {
            let reason = match &error {
                Error::Timeout { .. } => CreationReason::Timeout,
                Error::Backend {
                    transient: true, ..
                } => CreationReason::Unavailable,
                Error::Connection(_) => CreationReason::Unreachable,
                _ => CreationReason::Rejected,
            };
            let message = error.to_string();
            let source = match error {
                Error::Connection(error) => error.source,
                Error::Backend { source, .. } => source,
                _ => None,
            };
            (reason, message, source)
        }
    };
    CreationError {
        id: info.id.clone(),
        stage: CreationStage::Isolate,
        reason,
        message,
        events,
        log_tail: String::new(),
        source,
    }
}

/// Creates the error of a sandbox that could not be set up.
pub(crate) fn personalise_error(
    info: &SandboxInfo,
    error: Error,
    mut events: Vec<SandboxEvent>,
) -> CreationError {
    let message = error.to_string();
    // The message contains the text of this error, so the source is the cause beneath it.
    let source = match error {
        Error::Connection(error) => error.source,
        Error::Transfer(error) => error.source,
        Error::Command { source, .. } | Error::Backend { source, .. } => source,
        _ => None,
    };
    if events.is_empty() {
        events.push(SandboxEvent {
            at: SystemTime::now(),
            kind: SandboxEventKind::Failed,
            message: message.clone(),
        });
    }
    CreationError {
        id: info.id.clone(),
        stage: CreationStage::Personalise,
        reason: CreationReason::Setup,
        message,
        events,
        log_tail: String::new(),
        source,
    }
}

/// Returns the latest problem that a backend has reported.
fn last_warning(events: &[SandboxEvent]) -> Option<&str> {
    events
        .iter()
        .rev()
        .find(|event| event.kind == SandboxEventKind::Warning && !event.message.is_empty())
        .map(|event| event.message.as_str())
}

/// Combines two lists of events, ordered by time. An event that is in both is kept once.
fn merge(mut events: Vec<SandboxEvent>, more: Vec<SandboxEvent>) -> Vec<SandboxEvent> {
    for event in more {
        if !events
            .iter()
            .any(|other| other.kind == event.kind && other.message == event.message)
        {
            events.push(event);
        }
    }
    events.sort_by_key(|event| event.at);
    events
}
