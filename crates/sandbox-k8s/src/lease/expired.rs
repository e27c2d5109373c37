//! Deletes Leases whose holders no longer exist.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use sandbox_core::{Deadline, Result, SandboxId, Uid};
use tokio::time::Instant;

use super::manifest::{LeaseHolder, takeover_delay};
use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;

/// A sweep waits at most this long for the renewal of a Lease.
const MAX_SWEEP_WAIT: Duration = Duration::from_secs(300);

/// Deletes the Leases that have expired, or with `dry_run` only returns them. This function waits expires_at no
/// holder can still be about to renew its Lease. Leases that need a longer wait are left to clients that
/// watch.
pub(crate) async fn remove_expired(
    api: &ApiClient,
    dry_run: bool,
) -> Result<Vec<(SandboxId, Uid)>> {
    let mut leases = ExpiredLeases::default();
    let first = list_expired(api).await?;
    leases.update(&first, Instant::now());
    if dry_run {
        return Ok(first
            .into_iter()
            .map(|expired| (expired.id, expired.uid))
            .collect());
    }
    for ExpiredLease { id, duration, .. } in first
        .iter()
        .filter(|expired| takeover_delay(expired.duration) > MAX_SWEEP_WAIT)
    {
        tracing::info!(
            lease = %id, ?duration,
            "expired owner Lease not deleted: a sweep would have to wait too long for its renewal"
        );
    }
    let waits = first.iter().map(|expired| takeover_delay(expired.duration));
    let Some(wait) = waits.filter(|wait| *wait <= MAX_SWEEP_WAIT).max() else {
        return Ok(Vec::new());
    };
    tokio::time::sleep(wait).await;
    leases.remove_due(api).await
}

/// The Leases that have expired, and how long they have been observed without a renewal. A Lease expires by
/// the API server's clock. That alone is not enough: its holder may be about to renew it.
#[derive(Default)]
pub(crate) struct ExpiredLeases(HashMap<Uid, Observation>);

/// The version that has to stay the same, and expires_at when.
struct Observation {
    version: String,
    due: Instant,
}

impl ExpiredLeases {
    /// Deletes the Leases that have been observed for long enough. A renewal in the same moment wins, because
    /// it changes the version.
    pub(crate) async fn remove_due(&mut self, api: &ApiClient) -> Result<Vec<(SandboxId, Uid)>> {
        let started = Instant::now();
        let expired = list_expired(api).await?;
        if api.outage.is_recent() {
            self.forget();
        }
        self.update(&expired, Instant::now());
        let mut removed = Vec::new();
        for lease in expired {
            if !self.is_due(&lease, started) {
                continue;
            }
            let ExpiredLease {
                id, uid, version, ..
            } = lease;
            if api
                .delete::<Lease>(
                    &id,
                    &uid,
                    Some(&version),
                    Deadline::from_now(LOOKUP_TIMEOUT),
                )
                .await?
            {
                tracing::debug!(lease = %id, "expired owner Lease deleted");
                self.0.remove(&uid);
                removed.push((id, uid));
            }
        }
        Ok(removed)
    }

    /// Forgets all observations. While the API server was away, no holder could renew its Lease.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether a Lease has been observed for long enough, if it is still unchanged.
    pub(crate) fn any_due(&self, now: Instant) -> bool {
        self.0.values().any(|observation| observation.due <= now)
    }

    fn update(&mut self, expired: &[ExpiredLease], now: Instant) {
        let versions: HashMap<_, _> = expired
            .iter()
            .map(|lease| (&lease.uid, &lease.version))
            .collect();
        self.0
            .retain(|uid, observation| versions.get(uid) == Some(&&observation.version));
        for ExpiredLease {
            uid,
            version,
            duration,
            ..
        } in expired
        {
            let due = now + takeover_delay(*duration);
            self.0.entry(uid.clone()).or_insert_with(|| Observation {
                version: version.clone(),
                due,
            });
        }
    }

    fn is_due(&self, lease: &ExpiredLease, now: Instant) -> bool {
        self.0.get(&lease.uid).is_some_and(|observation| {
            observation.version == lease.version && observation.due <= now
        })
    }
}

/// A Lease that has expired, in one version.
struct ExpiredLease {
    id: SandboxId,
    uid: Uid,
    version: String,
    duration: Duration,
}

async fn list_expired(api: &ApiClient) -> Result<Vec<ExpiredLease>> {
    let holder = |lease: Lease| {
        let version = lease.metadata.resource_version.clone()?;
        Some((LeaseHolder::from_lease(&lease)?, version))
    };
    let (leases, now) = api
        .list(&labels::selector(), LOOKUP_TIMEOUT, holder)
        .await?;
    Ok(leases
        .into_iter()
        .filter_map(|(holder, version)| check_expired(holder, version, now))
        .collect())
}

fn check_expired(
    holder: LeaseHolder,
    version: String,
    now: Option<SystemTime>,
) -> Option<ExpiredLease> {
    let LeaseHolder {
        id,
        uid,
        duration,
        expires_at,
    } = holder;
    (now? > expires_at).then_some(ExpiredLease {
        id,
        uid,
        version,
        duration,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, duration: u64) -> ExpiredLease {
        ExpiredLease {
            id: "sbx-a".parse().unwrap(),
            uid: Uid::new("l"),
            version: version.into(),
            duration: Duration::from_secs(duration),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_leases_without_a_renewal_for_long_enough_are_due() {
        for duration in [15, 60, 3600] {
            let (mut leases, now) = (ExpiredLeases::default(), Instant::now());
            leases.update(&[lease("1", duration)], now);
            // A renewal may begin as late as this, and take as long as it may.
            let renewed =
                now + Duration::from_secs(duration) / 3 + crate::lease::manifest::RENEWAL_TIMEOUT;
            assert!(!leases.is_due(&lease("1", duration), renewed), "{duration}");
            assert!(
                leases.is_due(
                    &lease("1", duration),
                    now + takeover_delay(Duration::from_secs(duration))
                ),
                "{duration}"
            );
            leases.update(&[lease("2", duration)], renewed);
            assert!(
                !leases.any_due(now + takeover_delay(Duration::from_secs(duration))),
                "{duration}: a renewal restarts the wait"
            );
            leases.update(&[], renewed);
            assert!(
                !leases.any_due(renewed + Duration::from_secs(100_000)),
                "{duration}: a deleted Lease is forgotten"
            );
        }
    }
}
