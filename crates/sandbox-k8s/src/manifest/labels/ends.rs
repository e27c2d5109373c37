//! The soft and the hard end of a sandbox.

use std::time::{Duration, SystemTime};

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use sandbox_core::{Lifetime, OnExpiry};

use super::metadata::annotation;
use crate::names::{ENDS_AFTER, ON_EXPIRY, READY_WITHIN};

/// The ends of a sandbox, by the API server's clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expiry {
    /// The soft end, which can be extended.
    pub soft: SystemTime,
    /// The hard end. Kubernetes counts it from when the kubelet accepted the Pod, so processes may run that
    /// much longer; a Pod that never ran has expired at this time.
    pub hard: SystemTime,
    /// By when its container must run, and a client must have connected. `None` if the client that created it does
    /// not say.
    pub ready: Option<SystemTime>,
}

impl Expiry {
    /// Reads the ends of a Pod. An invalid soft end counts as the hard end, and a Pod without a hard end gets
    /// the default one, a day after its creation. An invalid deadline of the creation counts as none.
    pub fn from_pod(pod: &Pod, created_at: SystemTime) -> Self {
        let seconds = pod
            .spec
            .as_ref()
            .and_then(|spec| spec.active_deadline_seconds);
        let most = seconds
            .and_then(|s| u64::try_from(s).ok())
            .map_or(Lifetime::DEFAULT_MAX, Duration::from_secs);
        let soft = annotation(&pod.metadata, ENDS_AFTER).and_then(|text| text.parse().ok());
        let soft = soft.map_or(most, Duration::from_secs).min(most);
        let ready = annotation(&pod.metadata, READY_WITHIN).and_then(|text| text.parse().ok());
        let ready = ready
            .map(Duration::from_secs)
            .filter(|ready| *ready <= most);
        // Kubernetes stores deadlines in 31 bits of seconds, so that the sum does not overflow.
        Self {
            soft: created_at + soft,
            hard: created_at + most,
            ready: ready.map(|ready| created_at + ready),
        }
    }
}

/// Returns the value of [`ENDS_AFTER`] for a new sandbox.
pub fn ends_after(lifetime: &Lifetime) -> String {
    whole_seconds(lifetime.first_end()).to_string()
}

/// Returns the value of [`READY_WITHIN`] for a new sandbox, if it has one.
pub fn ready_within(lifetime: &Lifetime) -> Option<String> {
    lifetime
        .first_login_timeout
        .map(|timeout| whole_seconds(timeout).to_string())
}

/// Returns what happens at the soft end of a Pod. An invalid value counts as its end.
pub fn on_expiry(meta: &ObjectMeta) -> OnExpiry {
    annotation(meta, ON_EXPIRY)
        .and_then(|text| text.parse().ok())
        .unwrap_or_default()
}

/// Returns the value of [`ENDS_AFTER`] that extends the soft end to `ttl` after `now`, the API server's
/// time, but never beyond the hard end.
pub fn extended_ends_after(
    ends: &Expiry,
    created_at: SystemTime,
    now: SystemTime,
    ttl: Duration,
) -> String {
    let until = now
        .checked_add(ttl)
        .map_or(ends.hard, |until| until.min(ends.hard));
    whole_seconds(until.duration_since(created_at).unwrap_or(Duration::ZERO)).to_string()
}

/// Converts a duration to seconds, rounded up, so that no end comes early.
pub(crate) fn whole_seconds(duration: Duration) -> u64 {
    duration.as_secs() + u64::from(duration.subsec_nanos() > 0)
}

#[cfg(test)]
mod tests {
    use super::super::ownership::tests::pod;
    use super::*;
    use serde_json::json;

    #[test]
    fn ends_count_from_the_creation_and_tampering_extends_nothing() {
        let t0 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000);
        let soft = |value: &str| {
            let pod = pod(|pod| pod["metadata"]["annotations"][ENDS_AFTER] = json!(value));
            Expiry::from_pod(&pod, t0)
                .soft
                .duration_since(t0)
                .unwrap()
                .as_secs()
        };
        for (value, seconds) in [
            ("60", 60),
            ("9999999", 3600),
            ("-1", 3600),
            ("soon", 3600),
            ("", 3600),
        ] {
            assert_eq!(soft(value), seconds, "{value:?}");
        }
        let endless = pod(|pod| pod["spec"] = json!({"containers": []}));
        assert_eq!(
            Expiry::from_pod(&endless, t0).hard,
            t0 + Lifetime::DEFAULT_MAX
        );

        let ready = |value: &str| {
            let pod = pod(|pod| pod["metadata"]["annotations"][READY_WITHIN] = json!(value));
            Expiry::from_pod(&pod, t0).ready
        };
        for (value, seconds) in [
            ("60", Some(60)),
            ("3600", Some(3600)),
            ("18446744073709551615", None),
            ("-1", None),
            ("", None),
        ] {
            let expected = seconds.map(|seconds| t0 + Duration::from_secs(seconds));
            assert_eq!(ready(value), expected, "{value:?}");
        }
        assert_eq!(Expiry::from_pod(&pod(|_| {}), t0).ready, None);

        let ends = Expiry::from_pod(&pod(|_| {}), t0);
        let now = t0 + Duration::from_millis(10_500);
        assert_eq!(
            extended_ends_after(&ends, t0, now, Duration::from_secs(100)),
            "111"
        );
        assert_eq!(
            extended_ends_after(&ends, t0, now, Duration::from_secs(99_999)),
            "3600"
        );
        assert_eq!(extended_ends_after(&ends, t0, now, Duration::MAX), "3600");
        assert_eq!(extended_ends_after(&ends, now, t0, Duration::ZERO), "0");
    }
}
