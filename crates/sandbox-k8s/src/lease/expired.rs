//! Leases whose holders are gone.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use k8s_openapi::api::coordination::v1::Lease;
use sandbox_core::{Deadline, Result, SandboxId, Uid};
use tokio::time::Instant;

use super::manifest::{Holding, wait_limit};
use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::manifest::labels;

/// A sweep sees no longer than this whether somebody renews a Lease.
const LONGEST: Duration = Duration::from_secs(300);

/// Deletes what has expired, or with `dry_run` only tells. It takes as long as it takes to see
/// that nobody renews it; what would take too long is left to those who look all the time.
pub(crate) async fn remove_expired(
    api: &ApiClient,
    dry_run: bool,
) -> Result<Vec<(SandboxId, Uid)>> {
    let mut looks = ExpiredLeases::default();
    let first = look(api).await?;
    looks.take(&first, Instant::now());
    if dry_run {
        return Ok(first
            .into_iter()
            .map(|expired| (expired.id, expired.uid))
            .collect());
    }
    for Expired { id, lasts, .. } in first
        .iter()
        .filter(|expired| wait_limit(expired.lasts) > LONGEST)
    {
        tracing::info!(
            lease = %id, ?lasts,
            "an owner Lease has expired and is left to clients that watch: a sweep would have to wait too long for \
             its renewal"
        );
    }
    let waits = first.iter().map(|expired| wait_limit(expired.lasts));
    let Some(wait) = waits.filter(|wait| *wait <= LONGEST).max() else {
        return Ok(Vec::new());
    };
    tokio::time::sleep(wait).await;
    looks.remove_due(api).await
}

/// What has expired, and since when it is seen to stay so. Nobody's clock but the API server's
/// says that a Lease has expired; and that alone proves nothing: its holder may be on the way to
/// renew it.
#[derive(Default)]
pub(crate) struct ExpiredLeases(HashMap<Uid, Seen>);

/// The state in which it is not renewed, and how long that has to last.
struct Seen {
    version: String,
    due: Instant,
}

impl ExpiredLeases {
    /// Deletes what was seen for long enough. Whoever renews it in the very moment is faster.
    pub(crate) async fn remove_due(&mut self, api: &ApiClient) -> Result<Vec<(SandboxId, Uid)>> {
        let asked = Instant::now();
        let expired = look(api).await?;
        if api.outage.is_recent() {
            self.forget();
        }
        self.take(&expired, Instant::now());
        let mut removed = Vec::new();
        for lease in expired {
            if !self.is_due(&lease, asked) {
                continue;
            }
            let Expired {
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
                tracing::debug!(lease = %id, "an owner Lease has expired");
                self.0.remove(&uid);
                removed.push((id, uid));
            }
        }
        Ok(removed)
    }

    /// What was seen does not count: while the API server was away, nobody could renew anything.
    pub(crate) fn forget(&mut self) {
        self.0.clear();
    }

    /// Whether there is one that will have been seen for long enough.
    pub(crate) fn any_due(&self, now: Instant) -> bool {
        self.0.values().any(|seen| seen.due <= now)
    }

    fn take(&mut self, expired: &[Expired], now: Instant) {
        self.0.retain(|uid, seen| {
            expired
                .iter()
                .any(|lease| lease.uid == *uid && lease.version == seen.version)
        });
        for Expired {
            uid,
            version,
            lasts,
            ..
        } in expired
        {
            let due = now + wait_limit(*lasts);
            self.0.entry(uid.clone()).or_insert_with(|| Seen {
                version: version.clone(),
                due,
            });
        }
    }

    fn is_due(&self, lease: &Expired, now: Instant) -> bool {
        self.0
            .get(&lease.uid)
            .is_some_and(|seen| seen.version == lease.version && seen.due <= now)
    }
}

/// A Lease that nobody holds any more, as it was seen.
struct Expired {
    id: SandboxId,
    uid: Uid,
    version: String,
    lasts: Duration,
}

async fn look(api: &ApiClient) -> Result<Vec<Expired>> {
    let (leases, now) = api
        .list::<Lease>(&labels::selector(), Deadline::from_now(LOOKUP_TIMEOUT))
        .await?;
    Ok(leases
        .iter()
        .filter_map(|lease| expired(lease, now))
        .collect())
}

fn expired(lease: &Lease, now: Option<SystemTime>) -> Option<Expired> {
    let Holding {
        id,
        uid,
        lasts,
        until,
    } = Holding::of(lease)?;
    let version = lease.metadata.resource_version.clone()?;
    (now? > until).then_some(Expired {
        id,
        uid,
        version,
        lasts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(version: &str, lasts: u64) -> Expired {
        Expired {
            id: "sbx-a".parse().unwrap(),
            uid: Uid::new("l"),
            version: version.into(),
            lasts: Duration::from_secs(lasts),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_nobody_renews_for_long_enough_is_due() {
        for lasts in [15, 60, 3600] {
            let (mut looks, now) = (ExpiredLeases::default(), Instant::now());
            looks.take(&[lease("1", lasts)], now);
            // A renewal may begin as late as this, and take as long as it may.
            let renewed = now + Duration::from_secs(lasts) / 3 + crate::lease::manifest::RENEW;
            assert!(!looks.is_due(&lease("1", lasts), renewed), "{lasts}");
            assert!(
                looks.is_due(
                    &lease("1", lasts),
                    now + wait_limit(Duration::from_secs(lasts))
                ),
                "{lasts}"
            );
            looks.take(&[lease("2", lasts)], renewed);
            assert!(
                !looks.any_due(now + wait_limit(Duration::from_secs(lasts))),
                "{lasts}: it counts anew"
            );
            looks.take(&[], renewed);
            assert!(
                !looks.any_due(renewed + Duration::from_secs(100_000)),
                "{lasts}: it does not count"
            );
        }
    }
}
