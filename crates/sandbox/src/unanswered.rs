//! Why a new sandbox never answered.

use sandbox_core::{
    ConnectionStage, CreationError, CreationReason, CreationStage, Diagnosis, Error, SandboxEvent,
    SandboxEventKind, SandboxInfo,
};

/// The error of a creation whose first session never came about: what the backend says stands
/// in its way, or that SSH does not answer although nothing does.
pub(crate) fn unanswered(
    info: &SandboxInfo,
    error: Error,
    events: Vec<SandboxEvent>,
    diagnosis: Option<Diagnosis>,
) -> CreationError {
    let found = diagnosis.unwrap_or_default();
    let started = events
        .iter()
        .any(|event| event.kind == SandboxEventKind::Started);
    let failed = events
        .last()
        .filter(|event| event.kind.is_final())
        .map(|event| event.message.clone());
    let said = Some(found.summary).filter(|summary| !summary.is_empty());
    // Such as a right to connect that is missing: no sandbox could be reached.
    let refused = matches!(
        error,
        Error::Backend {
            transient: false,
            ..
        }
    );
    let reason = found.reason.unwrap_or(match failed {
        Some(_) if started => CreationReason::Crashed,
        Some(_) => CreationReason::Other,
        None if refused => CreationReason::Rejected,
        None if !started => CreationReason::Timeout,
        None => CreationReason::Unreachable,
    });
    let (what, source) = match error {
        Error::Timeout { after, .. } if started => {
            (format!("SSH did not answer within {after:?}"), None)
        }
        Error::Connection(inner) if inner.stage == ConnectionStage::Dial => (
            format!("SSH does not answer: {}", inner.message),
            inner.source,
        ),
        // Something did answer.
        Error::Connection(inner) => (inner.message, inner.source),
        other => (other.to_string(), None),
    };
    let (message, source) = match (failed, said) {
        // What it was given up for says more than how far it has come.
        (Some(failed), Some(_)) if found.reason.is_none() && !failed.is_empty() => (failed, None),
        // Why nobody answered is not the question then.
        (Some(_), Some(said)) => (said, None),
        (Some(failed), None) => (failed, None),
        (None, _) if refused => (what, source),
        (None, Some(said)) if started => (format!("{what} ({said})"), source),
        (None, Some(said)) => (format!("it was not ready in time: {said}"), source),
        (None, None) => (what, source),
    };
    let events = match (events.is_empty(), found.events.is_empty()) {
        (false, true) => events,
        (false, false) => merged(events, found.events),
        (true, _) => found.events,
    };
    let stage = if started || refused {
        CreationStage::Connect
    } else {
        CreationStage::Provision
    };
    let id = info.id.clone();
    CreationError {
        id,
        stage,
        reason,
        message,
        events,
        log_tail: found.log_tail,
        source,
    }
}

/// Both, each once, in their order in time.
fn merged(mut events: Vec<SandboxEvent>, more: Vec<SandboxEvent>) -> Vec<SandboxEvent> {
    for event in more {
        if !events
            .iter()
            .any(|known| known.kind == event.kind && known.message == event.message)
        {
            events.push(event);
        }
    }
    events.sort_by_key(|event| event.at);
    events
}
