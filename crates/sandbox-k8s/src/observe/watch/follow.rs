//! Waits for changes of one instance.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Result, SandboxId, Uid};
use tokio::sync::Notify;

use super::watcher::Watch;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::observe::index::{Health, Lookup, Waiter};
use crate::observe::status::PodView;

/// The interval between two requests for one sandbox while there is no watch.
const POLL_INTERVAL: Duration = Duration::from_millis(500);
/// The longest such interval while the API server does not respond.
const MAX_POLL_INTERVAL: Duration = Duration::from_secs(8);
/// The timeout of a request whose caller can use the last view instead, such as a connection attempt.
const BRIEF_TIMEOUT: Duration = Duration::from_secs(2);

/// Waits for changes of one instance.
pub(crate) struct Follower {
    watch: Arc<Watch>,
    id: SandboxId,
    uid: Uid,
    waiter: Waiter,
    changed: Arc<Notify>,
}

impl Follower {
    fn new(watch: &Arc<Watch>, id: &SandboxId, uid: &Uid) -> Self {
        let mut state = watch.shared.lock();
        let waiter = state.index.wait_for(uid.clone());
        let changed = Arc::new(Notify::new());
        state.wakers.insert(waiter.clone(), Arc::clone(&changed));
        drop(state);
        Self {
            watch: Arc::clone(watch),
            id: id.clone(),
            uid: uid.clone(),
            waiter,
            changed,
        }
    }

    /// Returns the current view as soon as it differs from `previous`, or `None` when the instance
    /// does not exist any more. While the API server does not respond, the last view stays valid, and
    /// a caller that has it already keeps waiting.
    ///
    /// # Errors
    ///
    /// Without a watch, the error of the request for the Pod, if there is no last view or if a retry
    /// would not help.
    pub(crate) async fn next(
        &self,
        previous: Option<&Arc<PodView>>,
    ) -> Result<Option<Arc<PodView>>> {
        let mut pause = POLL_INTERVAL;
        loop {
            let (lookup, degraded, last) = {
                let index = &self.watch.shared.lock().index;
                let degraded = matches!(index.health(), Health::Degraded(_));
                (
                    index.look_up_instance(&self.uid),
                    degraded,
                    index.last_view(&self.uid),
                )
            };
            let view = match lookup {
                Lookup::Missing => return Ok(None),
                Lookup::Present(view) => Some(view),
                Lookup::Unknown if !degraded && previous.is_some() => None,
                Lookup::Unknown => {
                    let limit = if last.is_some() && previous.is_none() {
                        BRIEF_TIMEOUT
                    } else {
                        LOOKUP_TIMEOUT
                    };
                    match self.watch.fetch_within(&self.id, limit).await {
                        Ok(Some(view)) if view.uid == self.uid => {
                            pause = POLL_INTERVAL;
                            Some(view)
                        }
                        Ok(_) => return Ok(None),
                        Err(error)
                            if self.watch.is_worth_retrying(&error)
                                && (last.is_some() || previous.is_some()) =>
                        {
                            tracing::debug!(sandbox.id = %self.id, %error, "lookup failed; using the last view");
                            pause = (2 * pause).min(MAX_POLL_INTERVAL);
                            last
                        }
                        Err(error) => return Err(error),
                    }
                }
            };
            match view.filter(|view| previous != Some(view)) {
                Some(view) => return Ok(Some(view)),
                // The watch may recover before the next poll.
                None if degraded => {
                    drop(tokio::time::timeout(pause, self.changed.notified()).await)
                }
                None => self.changed.notified().await,
            }
        }
    }
}

impl Watch {
    /// Starts to follow an instance.
    pub(crate) fn follow(self: &Arc<Self>, id: &SandboxId, uid: &Uid) -> Follower {
        self.start();
        Follower::new(self, id, uid)
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let mut state = self.watch.shared.lock();
        state.index.cancel_wait(&self.waiter);
        state.wakers.remove(&self.waiter);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::client::ApiClient;
    use crate::observe::status::view::tests::view;
    use kube::Client;
    use sandbox_testkit::apiserver::{ApiServer, Fault};
    use serde_json::json;
    use tokio::time::{Instant, timeout};

    #[tokio::test(start_paused = true)]
    async fn the_last_view_is_valid_while_the_api_server_does_not_respond() {
        let server = ApiServer::new("boxes");
        let api = ApiClient::new(Client::new(server.clone(), "boxes"), "boxes".into());
        let watch = Arc::new(Watch::new(Arc::new(api), false));
        let running = view(json!({"phase": "Running", "state": {"running": {}}}));
        let (id, uid) = (running.id.clone(), running.uid.clone());
        server.set_unreachable(true);
        let nothing = watch.follow(&id, &Uid::new("another"));
        watch.record_write(running);
        let follow = watch.follow(&id, &uid);
        tokio::time::sleep(Duration::from_secs(60)).await;
        assert!(matches!(
            watch.shared.lock().index.health(),
            Health::Degraded(_)
        ));
        let begun = Instant::now();
        let current = follow.next(None).await.unwrap().unwrap();
        assert_eq!(current.uid, uid);
        assert!(begun.elapsed() <= BRIEF_TIMEOUT, "{:?}", begun.elapsed());
        assert!(nothing.next(None).await.is_err(), "no view of it exists");
        let more = timeout(Duration::from_secs(600), follow.next(Some(&current))).await;
        assert!(
            more.is_err(),
            "the same view is not returned twice: {more:?}"
        );
        // The API server responds, but forbids to read Pods.
        server.set_unreachable(false);
        for what in ["list pods", "get pods"] {
            server.inject_always(what, Fault::Forbidden);
        }
        for previous in [None, Some(&current)] {
            let answered = timeout(Duration::from_secs(60), follow.next(previous)).await;
            match (previous, answered) {
                // An API server that has just started may forbid every request.
                (None, Ok(answer)) => assert_eq!(answer.unwrap().as_ref(), Some(&current)),
                (_, answer) => drop(answer.unwrap().unwrap_err()),
            }
        }
        assert!(follow.next(None).await.is_err());
        server.clear_faults();
        assert_eq!(
            follow.next(Some(&current)).await.unwrap(),
            None,
            "there is no such Pod"
        );
    }
}
