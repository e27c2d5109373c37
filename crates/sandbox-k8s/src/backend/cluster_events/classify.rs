//! What the cluster's events mean for the start of a Pod.

use k8s_openapi::api::core::v1::Event;
use sandbox_core::{SandboxEvent, SandboxEventKind};

use crate::observe::status::cluster_event;

/// One of the cluster's events, and what it means for the start of the Pod.
#[derive(Debug, PartialEq)]
pub(in crate::backend) enum ClusterEvent {
    /// The Pod makes progress, so an earlier obstacle no longer exists. Contains the event, if it is worth reporting.
    Progress(Option<SandboxEvent>),
    /// Something blocks the start.
    Obstacle(SandboxEvent),
    /// A warning that does not block the start.
    Remark(SandboxEvent),
}

/// Reasons that the status of the Pod shows as well.
const IN_STATUS: [&str; 4] = ["Failed", "BackOff", "FailedScheduling", "ErrImageNeverPull"];
/// Warnings about steps that are necessary before the first container can start. A Pod starts in spite of others,
/// such as `DNSConfigForming`.
const BLOCKING: [&str; 5] = [
    "FailedMount",
    "FailedAttachVolume",
    "FailedMapVolume",
    "FailedCreatePodSandBox",
    "NetworkNotReady",
];
/// Returns what an event means; `None` for one that says nothing new.
pub(super) fn classify_event(event: &Event) -> Option<ClusterEvent> {
    let reason = event.reason.as_deref().unwrap_or_default();
    // The scheduler may report late what every Pod here has behind it.
    if reason == "Scheduled" {
        return None;
    }
    if event.type_.as_deref() != Some("Warning") {
        let progress = cluster_event(event).filter(|event| event.kind == SandboxEventKind::Pulling);
        return Some(ClusterEvent::Progress(progress));
    }
    if IN_STATUS.contains(&reason) {
        return None;
    }
    let warning = cluster_event(event)?;
    Some(if BLOCKING.contains(&reason) {
        ClusterEvent::Obstacle(warning)
    } else {
        ClusterEvent::Remark(warning)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_progress_obstacles_or_remarks() {
        let classify = |kind: &str, reason: &str| {
            let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "type": kind,
                               "message": "m", "lastTimestamp": "2026-01-01T00:00:01Z"});
            classify_event(&serde_json::from_value(event).unwrap())
        };
        let kind = |event: Option<ClusterEvent>| match event {
            Some(ClusterEvent::Progress(event)) => ("progress", event.map(|event| event.kind)),
            Some(ClusterEvent::Obstacle(event)) => ("obstacle", Some(event.kind)),
            Some(ClusterEvent::Remark(event)) => ("remark", Some(event.kind)),
            None => ("nothing", None),
        };
        for (type_, reason, expected) in [
            (
                "Normal",
                "Pulling",
                ("progress", Some(SandboxEventKind::Pulling)),
            ),
            ("Normal", "Pulled", ("progress", None)),
            ("Normal", "Scheduled", ("nothing", None)),
            ("Normal", "SuccessfulAttachVolume", ("progress", None)),
            (
                "Warning",
                "FailedMount",
                ("obstacle", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "FailedCreatePodSandBox",
                ("obstacle", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "DNSConfigForming",
                ("remark", Some(SandboxEventKind::Warning)),
            ),
            (
                "Warning",
                "Unhealthy",
                ("remark", Some(SandboxEventKind::Warning)),
            ),
            // The status of the Pod shows these as well.
            ("Warning", "Failed", ("nothing", None)),
            ("Warning", "FailedScheduling", ("nothing", None)),
        ] {
            assert_eq!(kind(classify(type_, reason)), expected, "{reason}");
        }
    }
}
