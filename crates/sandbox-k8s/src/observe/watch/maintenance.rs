//! What is to be done from time to time: own writes looked up that no watch has shown, and what
//! has ended removed.

use std::collections::HashMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use sandbox_core::{Deadline, Uid};
use tokio::time::{Instant, MissedTickBehavior};

use super::state::{Shared, now};
use crate::api::client::ApiClient;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::lease::ExpiredLeases;
use crate::observe::reaper;
use crate::observe::status::managed_view;

/// How often.
const TEND: Duration = Duration::from_secs(5);

/// And how often it is looked whether the makers of others' sandboxes still live.
const LEASES: Duration = Duration::from_secs(60);

/// How long at most nobody tries again to remove what could not be removed: a right that is missing
/// is not given soon.
const LONGEST: Duration = Duration::from_secs(300);

/// `leases`: whether to look for expired Leases even when no sandbox is seen that has one.
pub(super) async fn tend(api: &ApiClient, shared: &Shared, leases: bool) {
    let (mut looked, mut looks) = (Instant::now(), ExpiredLeases::default());
    let mut refusals = Refusals::default();
    let mut tick = tokio::time::interval(TEND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        confirm(api, shared).await;
        let (due, leased) = {
            let mut state = shared.lock();
            let Some(all) = state.index.all() else {
                continue;
            };
            let leased = state.reaper.any_leased_by_others(&all);
            (state.reaper.due(&all, now(), api.clock.now()), leased)
        };
        if api.outage.is_recent() {
            looks.forget();
        }
        if (leases || leased) && (looked.elapsed() >= LEASES || looks.any_due(Instant::now())) {
            looked = Instant::now();
            if let Err(error) = looks.remove_due(api).await {
                looks.forget();
                tracing::debug!(%error, "the Leases of other processes cannot be looked at");
            }
        }
        refusals.keep(|uid| due.iter().any(|view| view.uid == *uid));
        for view in due
            .iter()
            .filter(|view| refusals.may_try(&view.uid))
            .collect::<Vec<_>>()
        {
            match reaper::remove(api, view).await {
                Ok(removed) => {
                    refusals.keep(|uid| *uid != view.uid);
                    if removed {
                        shared.tell(|index| index.deleting(&view.uid, now()));
                    }
                }
                Err(error) => {
                    let pause = refusals.refused(&view.uid);
                    tracing::debug!(sandbox.id = %view.id, %error, ?pause, "an ended sandbox cannot be removed");
                }
            }
        }
    }
}

/// What could not be removed, until when it is left alone, and for how long the next time.
#[derive(Default)]
struct Refusals(HashMap<Uid, (Instant, Duration)>);

impl Refusals {
    fn may_try(&self, uid: &Uid) -> bool {
        self.0
            .get(uid)
            .is_none_or(|(until, _)| *until <= Instant::now())
    }

    fn refused(&mut self, uid: &Uid) -> Duration {
        let (until, next) = self
            .0
            .entry(uid.clone())
            .or_insert((Instant::now(), 2 * TEND));
        let pause = *next;
        (*until, *next) = (Instant::now() + pause, (2 * pause).min(LONGEST));
        pause
    }

    fn keep(&mut self, keeps: impl Fn(&Uid) -> bool) {
        self.0.retain(|uid, _| keeps(uid));
    }
}

/// Reads what we wrote and no watch has shown.
async fn confirm(api: &ApiClient, shared: &Shared) {
    let overdue = shared.lock().index.unconfirmed(now());
    for (id, uid) in overdue {
        match api
            .get::<Pod>(&id, Deadline::from_now(LOOKUP_TIMEOUT))
            .await
        {
            Ok(found) => match found
                .and_then(|(pod, _)| managed_view(&pod))
                .filter(|view| view.uid == uid)
            {
                Some(view) => shared.tell(|index| index.read(view)),
                None => shared.tell(|index| index.gone(&uid, now())),
            },
            Err(error) => {
                tracing::debug!(sandbox.id = %id, %error, "what was written cannot be read back")
            }
        }
    }
}
