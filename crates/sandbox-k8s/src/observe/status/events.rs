//! Events of a sandbox, as differences between two views of its Pod.

use std::time::SystemTime;

use k8s_openapi::api::core::v1::Event;
use sandbox_core::{SandboxEvent, SandboxEventKind, SandboxState};

use super::view::{PodView, to_system_time};

/// Returns what happened between two views of one Pod; `before` is `None` for the first. `now` is the
/// time of events that have no time of their own.
///
/// A problem is reported when its message changes. The end of a Pod is
/// [`Failed`](SandboxEventKind::Failed), or [`Ended`](SandboxEventKind::Ended) at a limit of the
/// sandbox; its deletion shows only by the absence of the Pod.
pub(crate) fn events_since(
    before: Option<&PodView>,
    view: &PodView,
    now: SystemTime,
) -> Vec<SandboxEvent> {
    let mut events = Vec::new();
    let mut push = |at: SystemTime, kind, message: &str| {
        events.push(SandboxEvent {
            at,
            kind,
            message: message.to_owned(),
        });
    };
    if before.is_none() {
        push(view.created_at, SandboxEventKind::Created, "");
    }
    if let Some((node, since)) = view
        .scheduled
        .as_ref()
        .filter(|_| before.is_none_or(|b| b.scheduled.is_none()))
    {
        push(*since, SandboxEventKind::Scheduled, &format!("on {node}"));
    }
    if let Some(since) = view
        .started_at
        .filter(|_| before.is_none_or(|b| b.started_at.is_none()))
    {
        push(since, SandboxEventKind::Started, "");
    }
    if let Some(address) = view
        .address
        .filter(|_| before.is_none_or(|b| b.address.is_none()))
    {
        push(
            now,
            SandboxEventKind::Addressed,
            &format!("at {address} port {}", view.port),
        );
    }
    let new_problem = view
        .problem
        .as_ref()
        .filter(|problem| before.and_then(|b| b.problem.as_ref()) != Some(problem));
    if let Some(problem) = new_problem {
        let kind = match view.state {
            SandboxState::Ended if problem.end.is_planned() => SandboxEventKind::Ended,
            _ if problem.is_final() => SandboxEventKind::Failed,
            _ => SandboxEventKind::Warning,
        };
        push(now, kind, &problem.message);
    }
    events
}

/// Converts one of the cluster's events of a Pod; `None` for one that adds nothing. It is never final,
/// because the end of a sandbox is in its Pod's status.
pub(crate) fn cluster_event(event: &Event) -> Option<SandboxEvent> {
    let time = event
        .last_timestamp
        .as_ref()
        .or(event.first_timestamp.as_ref())
        .map(to_system_time);
    let time = time.or_else(|| {
        event
            .event_time
            .as_ref()
            .map(|time| SystemTime::from(time.0))
    });
    let time = time.or_else(|| {
        event
            .metadata
            .creation_timestamp
            .as_ref()
            .map(to_system_time)
    })?;
    let message = event.message.clone().unwrap_or_default();
    let kind = match (
        event.reason.as_deref().unwrap_or_default(),
        event.type_.as_deref(),
    ) {
        (_, Some("Warning")) => SandboxEventKind::Warning,
        ("Scheduled", _) => SandboxEventKind::Scheduled,
        ("Pulling", _) => SandboxEventKind::Pulling,
        ("Started", _) => SandboxEventKind::Started,
        _ => return None,
    };
    Some(SandboxEvent {
        at: time,
        kind,
        message,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::status::view::tests::view;
    use SandboxEventKind::{
        Addressed, Created, Ended, Failed, Pulling, Scheduled, Started, Warning,
    };
    use serde_json::json;

    fn steps(before: Option<&PodView>, view: &PodView) -> Vec<SandboxEventKind> {
        events_since(before, view, SystemTime::UNIX_EPOCH)
            .into_iter()
            .map(|event| event.kind)
            .collect()
    }

    #[test]
    fn each_step_is_reported_once() {
        let pending = view(json!({}));
        let full = view(
            json!({"conditions": [{"type": "PodScheduled", "status": "False", "message": "no room"}]}),
        );
        let running = view(json!({
            "nodeName": "n1", "podIP": "10.0.0.7",
            "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}],
            "state": {"running": {"startedAt": "2026-01-01T00:00:02Z"}},
        }));
        let expired = view(json!({
            "nodeName": "n1", "podIP": "10.0.0.7", "phase": "Failed",
            "state": {"terminated": {"exitCode": 80, "startedAt": "2026-01-01T00:00:02Z"}},
        }));
        let crashed = view(json!({
            "nodeName": "n1", "podIP": "10.0.0.7", "phase": "Failed",
            "state": {"terminated": {"exitCode": 1, "startedAt": "2026-01-01T00:00:02Z"}},
        }));
        assert_eq!(steps(None, &pending), [Created]);
        assert_eq!(steps(Some(&pending), &full), [Warning]);
        assert_eq!(steps(Some(&full), &full), []);
        assert_eq!(
            steps(Some(&full), &running),
            [Scheduled, Started, Addressed]
        );
        assert_eq!(steps(Some(&running), &running), []);
        assert_eq!(steps(Some(&running), &crashed), [Failed]);
        assert_eq!(steps(Some(&running), &expired), [Ended]);
        assert_eq!(
            steps(None, &crashed),
            [Created, Scheduled, Started, Addressed, Failed]
        );
        let events = events_since(Some(&pending), &running, SystemTime::UNIX_EPOCH);
        assert_eq!(events[2].message, "at 10.0.0.7 port 2222");
        assert!(events[0].at < events[1].at);
    }

    #[test]
    fn the_clusters_events_are_never_final() {
        let convert =
            |event: serde_json::Value| cluster_event(&serde_json::from_value(event).unwrap());
        let event = |reason: &str, kind: &str| {
            json!({"metadata": {}, "involvedObject": {}, "reason": reason, "type": kind, "message": "m",
                   "lastTimestamp": "2026-01-01T00:00:01Z"})
        };
        for (reason, kind, expected) in [
            ("Pulling", "Normal", Some(Pulling)),
            ("Scheduled", "Normal", Some(Scheduled)),
            ("Started", "Normal", Some(Started)),
            ("Failed", "Warning", Some(Warning)),
            ("FailedCreatePodSandBox", "Warning", Some(Warning)),
            ("Pulled", "Normal", None),
        ] {
            assert_eq!(
                convert(event(reason, kind)).map(|event| event.kind),
                expected,
                "{reason}"
            );
        }
        let newer = json!({"metadata": {}, "involvedObject": {}, "reason": "Scheduled", "type": "Normal",
                           "eventTime": "2026-01-01T00:00:01.000000Z"});
        assert_eq!(convert(newer).unwrap().kind, Scheduled);
        assert_eq!(
            convert(json!({"metadata": {}, "involvedObject": {}, "reason": "Scheduled"})),
            None
        );
    }
}
