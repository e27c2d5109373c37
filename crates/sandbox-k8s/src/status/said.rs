//! What the cluster's events say of a Pod whose status says nothing, or not enough.

use sandbox_core::{CreationReason, SandboxEvent, SandboxEventKind};

use super::{Trouble, image};

/// What stands in the way of a Pod that does not start, as far as its events say more than its
/// status: a volume that cannot be mounted is told nowhere else, and a kubelet that waits before
/// it fetches an image again has forgotten why.
pub fn explained(trouble: Option<&Trouble>, events: &[SandboxEvent]) -> Option<Trouble> {
    if trouble.is_some_and(|trouble| !trouble.is_vague()) {
        return None;
    }
    let warnings = events.iter().rev().filter(|event| event.kind == SandboxEventKind::Warning);
    let message = warnings.map(|event| event.message.as_str()).find(|message| !is_vague(message))?;
    match trouble {
        Some(trouble) if trouble.reason != CreationReason::ImagePull => None,
        Some(_) => Some(image::pull(message)),
        None => Some(judged(message)),
    }
}

/// Says that it did not work, or will be tried again, and not why.
pub(super) fn is_vague(message: &str) -> bool {
    // From 1.31 on, the kubelet repeats the error after its name.
    if message.starts_with("Back-off ") && message.contains(": ErrImagePull: ") {
        return false;
    }
    ["Back-off ", "Error: ", "ImagePullBackOff", "ErrImagePull", "Unable to attach or mount volumes: "]
        .iter()
        .any(|sign| message.starts_with(sign))
}

fn judged(message: &str) -> Trouble {
    let passing = |advice: &str| {
        Trouble::passing(
            CreationReason::Other,
            format!("its container cannot be started yet: {message}{advice}"),
        )
    };
    let is_volume = message.contains("MountVolume") || message.contains("AttachVolume");
    if is_volume && message.contains("not found") {
        passing(" (make it in the sandbox's namespace, or ask for no such volume)")
    } else {
        passing("")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::Patience;
    use std::time::SystemTime;

    fn warnings(messages: &[&str]) -> Vec<SandboxEvent> {
        let event = |kind, message: &&str| SandboxEvent {
            at: SystemTime::UNIX_EPOCH,
            kind,
            message: (*message).to_owned(),
        };
        let mut events: Vec<_> =
            messages.iter().map(|message| event(SandboxEventKind::Warning, message)).collect();
        events.push(event(SandboxEventKind::Pulling, &"Pulling image"));
        events
    }

    /// The messages of Kubernetes 1.20's and 1.33's kubelets.
    #[test]
    fn events_say_more_than_the_status() {
        let configmap = r#"MountVolume.SetUp failed for volume "v" : configmap "none" not found"#;
        let secret = r#"MountVolume.SetUp failed for volume "v" : secret "none" not found"#;
        let pull = "Failed to pull image \"localhost/none:1\": rpc error: code = Unknown desc = failed to do \
                    request: Head \"http://localhost/v2/none/manifests/1\": dial tcp 127.0.0.1:80: connect: \
                    connection refused";
        let absent = "Failed to pull image \"x:1\": rpc error: code = NotFound desc = x:1: not found";
        let waits =
            Trouble::passing(CreationReason::ImagePull, "Back-off pulling image \"localhost/none:1\"");
        let vague = "Unable to attach or mount volumes: unmounted volumes=[v], unattached volumes=[v]: timed out \
             waiting for the condition";
        for (trouble, messages, said) in [
            (None, vec![configmap], Some(("\"none\" not found (make it", Patience::Grace))),
            (None, vec![secret, vague], Some(("\"none\" not found (make it", Patience::Grace))),
            (None, vec![vague], None),
            (None, vec![], None),
            (
                None,
                vec!["failed to get sandbox image \"pause\""],
                Some(("cannot be started yet", Patience::Grace)),
            ),
            (
                Some(&waits),
                vec![pull, "Error: ErrImagePull", "Error: ImagePullBackOff"],
                Some(("connection refused", Patience::Grace)),
            ),
            (Some(&waits), vec![absent], Some(("check its name", Patience::None))),
            (Some(&waits), vec!["Error: ImagePullBackOff"], None),
        ] {
            let found = explained(trouble, &warnings(&messages));
            assert_eq!(found.is_some(), said.is_some(), "{messages:?}");
            if let (Some(found), Some((said, patience))) = (found, said) {
                assert!(found.message.contains(said), "{}", found.message);
                assert_eq!(found.patience, patience, "{messages:?}");
            }
        }
        let whole = r#"Back-off pulling image "x:y": ErrImagePull: rpc error: code = Unknown desc = broken"#;
        let repeated = Trouble::passing(CreationReason::ImagePull, whole);
        assert_eq!(explained(Some(&repeated), &warnings(&[pull])), None);
        let clear = Trouble::last(CreationReason::ImagePull, "not found");
        assert_eq!(explained(Some(&clear), &warnings(&[configmap])), None);
    }
}
