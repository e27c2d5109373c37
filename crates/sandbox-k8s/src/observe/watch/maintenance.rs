//! Periodic work beside the watch: confirms own writes that the watch has not shown, and deletes
//! sandboxes that have ended.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Uid};
use tokio::time::{Instant, MissedTickBehavior};

use super::state::{Shared, now};
use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::lease::ExpiredLeases;
use crate::observe::status::managed_view;
use crate::observe::sweeper;

/// The interval of the maintenance.
const INTERVAL: Duration = Duration::from_secs(5);

/// The interval at which the Leases of other clients are checked.
const LEASE_INTERVAL: Duration = Duration::from_secs(60);

/// The longest wait before a failed deletion is retried. A missing right is seldom granted soon.
const MAX_BACKOFF: Duration = Duration::from_secs(300);

/// Runs the maintenance for ever. `leases`: whether to look for expired Leases even if no sandbox
/// has one.
pub(super) async fn run_maintenance(api: &ApiClient, shared: &Shared, leases: bool) {
    let (mut checked_at, mut expired_leases) = (Instant::now(), ExpiredLeases::default());
    let mut backoffs = Backoffs::default();
    let mut tick = tokio::time::interval(INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        confirm_writes(api, shared).await;
        let (due, leased) = {
            let mut state = shared.lock();
            let Some(all) = state.index.views() else {
                continue;
            };
            let leased = state.sweeper.any_leased_by_others(&all);
            (
                state.sweeper.select_due(&all, now(), api.clock.now()),
                leased,
            )
        };
        if api.outage.is_recent() {
            expired_leases.forget();
        }
        if (leases || leased)
            && (checked_at.elapsed() >= LEASE_INTERVAL || expired_leases.any_due(Instant::now()))
        {
            checked_at = Instant::now();
            if let Err(error) = expired_leases.remove_due(api).await {
                expired_leases.forget();
                tracing::debug!(%error, "cannot check the Leases of other processes; retrying");
            }
        }
        backoffs.retain_only(due.iter().map(|view| &view.uid).collect());
        for view in due
            .iter()
            .filter(|view| backoffs.may_try(&view.uid))
            .collect::<Vec<_>>()
        {
            match sweeper::delete(api, view).await {
                Ok(removed) => {
                    backoffs.forget(&view.uid);
                    if removed {
                        shared.update(|index| index.record_deletion(&view.uid, now()));
                    }
                }
                Err(error) => {
                    let pause = backoffs.record_failure(&view.uid);
                    tracing::debug!(sandbox.id = %view.id, %error, ?pause, "ended sandbox not deleted; retrying");
                }
            }
        }
    }
}

/// The instances whose deletion failed: the time of the next attempt, and the wait after it.
#[derive(Default)]
struct Backoffs(HashMap<Uid, (Instant, Duration)>);

impl Backoffs {
    fn may_try(&self, uid: &Uid) -> bool {
        self.0
            .get(uid)
            .is_none_or(|(until, _)| *until <= Instant::now())
    }

    fn record_failure(&mut self, uid: &Uid) -> Duration {
        let (until, next) = self
            .0
            .entry(uid.clone())
            .or_insert((Instant::now(), 2 * INTERVAL));
        let pause = *next;
        (*until, *next) = (Instant::now() + pause, (2 * pause).min(MAX_BACKOFF));
        pause
    }

    fn forget(&mut self, uid: &Uid) {
        self.0.remove(uid);
    }

    fn retain_only(&mut self, due: HashSet<&Uid>) {
        self.0.retain(|uid, _| due.contains(uid));
    }
}

/// Reads the own writes that the watch has not shown.
async fn confirm_writes(api: &ApiClient, shared: &Shared) {
    let overdue = shared.lock().index.unconfirmed_writes(now());
    for (id, uid) in overdue {
        match api
            .get::<Pod>(&id, Deadline::from_now(LOOKUP_TIMEOUT))
            .await
        {
            Ok(found) => match found
                .and_then(|(pod, _)| managed_view(&pod))
                .filter(|view| view.uid == uid)
            {
                Some(view) => shared.update(|index| index.record_read(view)),
                None => shared.update(|index| index.record_absence(&uid, now())),
            },
            Err(error) => {
                tracing::debug!(sandbox.id = %id, %error, "cannot confirm a write; retrying")
            }
        }
    }
}
