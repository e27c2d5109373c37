//! How long the servers of new Pods have been waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandbox_core::Uid;
use tokio::time::Instant;

/// The servers that were seen to start and have not answered yet.
#[derive(Debug)]
pub(crate) struct Waits {
    grace: Duration,
    since: Mutex<HashMap<Uid, Wait>>,
}

#[derive(Debug)]
struct Wait {
    noticed: Instant,
    running: Option<Instant>,
}

/// Nobody waits for so long; what is left was given up by a caller that went away.
const FORGET: Duration = Duration::from_secs(3600);

impl Waits {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            since: Mutex::default(),
        }
    }

    /// It is about to start.
    pub(super) fn starts(&self, uid: &Uid) {
        let mut since = self.lock();
        since.retain(|_, wait| wait.noticed.elapsed() < FORGET);
        since.entry(uid.clone()).or_insert_with(|| Wait {
            noticed: Instant::now(),
            running: None,
        });
    }

    /// Its container runs. That of a server which was not seen to start may have been running
    /// for days.
    pub(super) fn runs(&self, uid: &Uid) {
        if let Some(wait) = self.lock().get_mut(uid) {
            wait.running.get_or_insert_with(Instant::now);
        }
    }

    /// It need not be waited for any more: it has answered, or it has ended.
    pub(super) fn over(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// The time that it had, if that was long enough.
    pub(super) fn exceeded(&self, uid: &Uid) -> Option<Duration> {
        let running = self.lock().get(uid)?.running?;
        (running.elapsed() >= self.grace).then_some(self.grace)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Wait>> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_was_seen_to_start_is_given_up_and_only_until_it_answers() {
        let waits = Waits::new(Duration::from_secs(30));
        let (new, old) = (Uid::new("new"), Uid::new("old"));
        waits.starts(&new);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(waits.exceeded(&new), None, "it does not run yet");
        waits.runs(&new);
        waits.runs(&old);
        tokio::time::advance(Duration::from_secs(29)).await;
        waits.runs(&new);
        assert_eq!(waits.exceeded(&new), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waits.exceeded(&new), Some(Duration::from_secs(30)));
        assert_eq!(waits.exceeded(&old), None);
        waits.over(&new);
        assert_eq!(waits.exceeded(&new), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_waits_for_is_forgotten() {
        let waits = Waits::new(Duration::from_secs(30));
        waits.starts(&Uid::new("left"));
        tokio::time::advance(FORGET).await;
        waits.starts(&Uid::new("next"));
        assert_eq!(waits.lock().len(), 1);
    }
}
