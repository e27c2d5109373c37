//! What the cluster's events say about the end of a Pod.
//!
//! A Pod's status does not always have the reason: a kubelet drops the reason of an eviction if the container
//! then ends with exit code 0, controllers of older versions set no condition, and a Pod that was
//! deleted has no status any more. The events remain for an hour.

use k8s_openapi::api::core::v1::Event;
use sandbox_core::{CreationReason, EndCause};

use super::problem::Problem;

/// Returns why the cluster ended a Pod, by the latest of its events that says so.
pub(crate) fn end_from_events(events: &[Event]) -> Option<Problem> {
    events.iter().rev().find_map(judge_end_event)
}

fn judge_end_event(event: &Event) -> Option<Problem> {
    let message = event.message.as_deref().unwrap_or_default().trim();
    let what = match event.reason.as_deref()? {
        "Evicted" => "the Pod was evicted",
        "Preempted" | "Preempting" => "the Pod was preempted by one of higher priority",
        // The same reason is used when the deletion is called off.
        "TaintManagerEviction" if message.starts_with("Marking for deletion") => {
            "the Pod's node cannot be reached or was tainted"
        }
        "NodeShutdown" | "Shutdown" => "the Pod's node is shutting down",
        "DeadlineExceeded" => {
            return Some(Problem::ended(
                EndCause::Lifetime,
                "the Pod reached max_lifetime (activeDeadlineSeconds)",
            ));
        }
        _ => return None,
    };
    let sentence = if message.is_empty() {
        what.to_owned()
    } else {
        format!("{what}: {message}")
    };
    Some(Problem::fatal(CreationReason::Evicted, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn end(events: &[(&str, &str)]) -> Option<Problem> {
        let events: Vec<Event> = events
            .iter()
            .map(|(reason, message)| {
                let event = json!({"metadata": {}, "involvedObject": {}, "reason": reason, "message": message});
                serde_json::from_value(event).unwrap()
            })
            .collect();
        end_from_events(&events)
    }

    #[test]
    fn the_cluster_says_why_it_ended_a_pod() {
        let disk = "Pod ephemeral local storage usage exceeds the total limit of containers 50Mi. ";
        let taint = "Marking for deletion Pod boxes/sbx-a";
        for (reason, message, expected) in [
            (
                "Evicted",
                disk,
                "the Pod was evicted: Pod ephemeral local storage usage exceeds the total limit of containers 50Mi.",
            ),
            (
                "Preempted",
                "by pod 12 on node n1",
                "the Pod was preempted by one of higher priority: by pod 12 on node n1",
            ),
            (
                "TaintManagerEviction",
                taint,
                "the Pod's node cannot be reached or was tainted: Marking for deletion Pod boxes/sbx-a",
            ),
            ("Evicted", "", "the Pod was evicted"),
        ] {
            let found = end(&[
                ("Started", "Started container sandbox"),
                (reason, message),
                ("Killing", "Stopping container sandbox"),
            ]);
            let found = found.unwrap();
            assert_eq!(found.message, expected);
            assert_eq!(
                (found.reason, found.end),
                (CreationReason::Evicted, EndCause::Evicted)
            );
        }
        let over = end(&[(
            "DeadlineExceeded",
            "Pod was active on the node longer than the specified deadline",
        )]);
        assert_eq!(over.unwrap().end, EndCause::Lifetime);
        for other in [
            (
                "TaintManagerEviction",
                "Cancelling deletion of Pod boxes/sbx-a",
            ),
            ("Killing", "Stopping container sandbox"),
            ("Unhealthy", "Readiness probe failed"),
        ] {
            assert_eq!(end(&[other]), None, "{other:?}");
        }
    }
}
