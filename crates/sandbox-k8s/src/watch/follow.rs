//! Waiting for news of one instance.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Result, SandboxId, Uid};
use tokio::sync::Notify;

use super::Watch;
use crate::index::{Health, Sight, Waiter};
use crate::status::PodView;

/// Between two reads of one sandbox where there is no watch.
const WITHOUT_WATCH: Duration = Duration::from_millis(500);

/// Someone who waits for news of one instance.
pub(crate) struct Follow {
    watch: Arc<Watch>,
    id: SandboxId,
    uid: Uid,
    waiter: Waiter,
    news: Arc<Notify>,
}

impl Follow {
    pub(super) fn new(watch: &Arc<Watch>, id: &SandboxId, uid: &Uid) -> Self {
        let mut state = watch.shared.lock();
        let waiter = state.index.wait_for(uid.clone());
        let news = Arc::new(Notify::new());
        state.asleep.insert(waiter.clone(), Arc::clone(&news));
        drop(state);
        Self { watch: Arc::clone(watch), id: id.clone(), uid: uid.clone(), waiter, news }
    }

    /// What is known now, waiting for it to differ from what was `seen`; `None` when the
    /// instance is gone.
    ///
    /// # Errors
    ///
    /// Without a watch, what the API server answers to a read.
    pub(crate) async fn next(&self, seen: Option<&Arc<PodView>>) -> Result<Option<Arc<PodView>>> {
        loop {
            let (sight, degraded) = {
                let state = self.watch.shared.lock();
                (state.index.look_at(&self.uid), matches!(state.index.health(), Health::Degraded(_)))
            };
            match sight {
                Sight::Gone => return Ok(None),
                Sight::Present(view) if seen != Some(&view) => return Ok(Some(view)),
                Sight::Present(_) => self.news.notified().await,
                Sight::Unknown if !degraded && seen.is_some() => self.news.notified().await,
                Sight::Unknown => match self.watch.ask(&self.id).await? {
                    Some(view) if view.uid != self.uid => return Ok(None),
                    None => return Ok(None),
                    Some(view) if seen != Some(&view) => return Ok(Some(view)),
                    Some(_) => {
                        // Whichever is first: the watch may come back.
                        let _news = tokio::time::timeout(WITHOUT_WATCH, self.news.notified()).await;
                    }
                },
            }
        }
    }
}

impl Drop for Follow {
    fn drop(&mut self) {
        let mut state = self.watch.shared.lock();
        state.index.forget(&self.waiter);
        state.asleep.remove(&self.waiter);
    }
}
