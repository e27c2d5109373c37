//! When a claimed sandbox ends.

use std::time::{Duration, SystemTime};

use crate::manifest::labels::{Expiry, whole_seconds};

/// The ends to write for a claimed sandbox; `None` leaves one as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ClaimedEnds {
    /// The value of [`ENDS_AFTER`](crate::names::ENDS_AFTER).
    pub(crate) ends_after: Option<String>,
    /// The value of `spec.activeDeadlineSeconds`, which Kubernetes allows only to be lowered.
    /// <https://kubernetes.io/docs/concepts/workloads/pods/#pod-update-and-replacement>
    pub(crate) active_deadline: Option<u64>,
}

/// The requested lifetime of a claimed sandbox, from the claim on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct RequestedEnds {
    pub(crate) ttl: Option<Duration>,
    pub(crate) max_lifetime: Option<Duration>,
}

impl RequestedEnds {
    /// Returns how long the sandbox has to be able to live.
    pub(crate) fn longest(&self) -> Duration {
        self.ttl.max(self.max_lifetime).unwrap_or_default()
    }

    /// Computes what to write for a sandbox that was created at `created_at`. Both times are the API server's.
    pub(crate) fn compute(
        &self,
        ends: &Expiry,
        created_at: SystemTime,
        now: SystemTime,
    ) -> ClaimedEnds {
        let after = |time: SystemTime| time.duration_since(created_at).unwrap_or_default();
        let end_of = |lifetime: Duration| now.checked_add(lifetime).unwrap_or(ends.hard);
        let hard = self
            .max_lifetime
            .map_or(ends.hard, |lifetime| end_of(lifetime).min(ends.hard));
        let soft = self.ttl.map_or(ends.soft, end_of).min(hard);
        ClaimedEnds {
            ends_after: (soft != ends.soft).then(|| whole_seconds(after(soft)).to_string()),
            // Rounding up must not exceed the former value.
            active_deadline: (hard < ends.hard)
                .then(|| whole_seconds(after(hard)).min(whole_seconds(after(ends.hard)))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_count_from_the_claim_and_the_hard_one_only_comes_sooner() {
        let seconds = Duration::from_secs;
        let created = SystemTime::UNIX_EPOCH + seconds(1_000_000);
        let ends = Expiry {
            soft: created + seconds(4000),
            hard: created + seconds(4000),
            ready: None,
        };
        let now = created + seconds(100);
        // ttl, max_lifetime → ends-after, activeDeadlineSeconds
        for (ttl, max_lifetime, expected) in [
            (None, None, (None, None)),
            (Some(60), None, (Some("160"), None)),
            (Some(99_999), None, (None, None)),
            (None, Some(1000), (Some("1100"), Some(1100))),
            (Some(60), Some(1000), (Some("160"), Some(1100))),
            (Some(2000), Some(1000), (Some("1100"), Some(1100))),
            (None, Some(99_999), (None, None)),
            (Some(u64::MAX), Some(u64::MAX), (None, None)),
        ] {
            let requested = RequestedEnds {
                ttl: ttl.map(seconds),
                max_lifetime: max_lifetime.map(seconds),
            };
            let written = requested.compute(&ends, created, now);
            assert_eq!(
                (written.ends_after.as_deref(), written.active_deadline),
                expected,
                "{ttl:?} {max_lifetime:?}"
            );
        }
        let requested = RequestedEnds {
            ttl: Some(seconds(5)),
            max_lifetime: Some(seconds(7)),
        };
        assert_eq!(requested.longest(), seconds(7));
        assert_eq!(RequestedEnds::default().longest(), Duration::ZERO);
    }
}
