//! When to dial a Pod that starts, through the API server: each attempt there is a WebSocket,
//! and until the Pod listens each one fails.
//!
//! How long a Pod takes to start is known quite well: from those that started before, and for
//! the first from what it is made of. So the attempts begin shortly before that, and then
//! follow in steps that grow with the time passed, so that what is lost by waiting is a small
//! part of what was waited for anyway. News of the Pod cut a wait short.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandbox_core::Uid;
use tokio::time::Instant;

use crate::manifest::options::{InjectVia, Injection};

/// How long Pods took that started before, from their machine being chosen to their first word.
#[derive(Debug)]
pub(crate) struct StartupTimes {
    first: Duration,
    last: Mutex<VecDeque<Duration>>,
}

/// So many are remembered.
const REMEMBERED: usize = 8;
/// The shortest and longest time from the beginning of an attempt to that of the next.
pub(super) const STEP: (Duration, Duration) = (Duration::from_millis(15), Duration::from_secs(1));

impl StartupTimes {
    /// Measured: a plain Pod runs after 200 ms; with any volume the kubelet looks every 300 ms
    /// whether it is mounted; a first container adds its own time.
    pub(crate) fn new(injection: &Injection) -> Self {
        let first = match injection {
            Injection::Baked { .. } => 150,
            Injection::Inject(InjectVia::ImageVolume) | Injection::Image(_) => 400,
            Injection::Inject(InjectVia::Auto | InjectVia::InitContainer) => 500,
        };
        Self {
            first: Duration::from_millis(first),
            last: Mutex::default(),
        }
    }

    /// How long after a Pod was scheduled the first attempt is worth making: never so late that
    /// one slow start makes the next wait.
    pub(super) fn begin(&self) -> Duration {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.iter().min().map_or(self.first, |least| {
            (*least).clamp(self.first / 4, self.first * 2)
        })
    }

    /// How long after the beginning of an attempt, so long after the Pod was scheduled, the next may
    /// begin: longer steps while nobody knows how long Pods take here.
    pub(super) fn step(&self, since: Duration) -> Duration {
        let known = !self
            .last
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .is_empty();
        (since / if known { 10 } else { 5 }).clamp(STEP.0, STEP.1)
    }

    /// A Pod answered so long after it was scheduled, at the first attempt or a later one.
    pub(super) fn learn(&self, took: Duration, at_once: bool) {
        // One that answered at once may have been there before; one that did not was not, a
        // step earlier.
        let earlier = if at_once { took / 10 } else { self.step(took) };
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.len() == REMEMBERED {
            last.pop_front();
        }
        last.push_back(took.saturating_sub(earlier));
    }
}

/// The servers that were seen to start and have not answered yet.
#[derive(Debug)]
pub(crate) struct StartupWaits {
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

impl StartupWaits {
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
    const MS: Duration = Duration::from_millis(1);

    /// A Pod that listens after `up`: how many attempts, and how late the last.
    fn attempts(pace: &StartupTimes, up: Duration) -> (u32, Duration) {
        let (mut at, mut count) = (pace.begin(), 1);
        while at < up {
            at += pace.step(at);
            count += 1;
        }
        pace.learn(at, count == 1);
        (count, at - up)
    }

    #[test]
    fn few_attempts_are_made_and_little_time_is_lost() {
        for (injection, up) in [
            (Injection::baked(), 230 * MS),
            (Injection::Inject(InjectVia::ImageVolume), 515 * MS),
            (Injection::default(), 700 * MS),
        ] {
            let pace = StartupTimes::new(&injection);
            let (count, late) = attempts(&pace, up);
            assert!(
                count <= 4 && late <= up / 4,
                "the first: {count} attempts, {late:?} late"
            );
            // Others are a little faster or slower.
            for round in 0..40_u32 {
                let up = up + MS * (round * 7 % 60);
                let (count, late) = attempts(&pace, up);
                assert!(
                    count <= 6 && late <= up / 8,
                    "{round}: {count} attempts, {late:?} late"
                );
            }
        }
    }

    #[test]
    fn one_slow_start_does_not_make_the_next_wait() {
        let pace = StartupTimes::new(&Injection::default());
        attempts(&pace, 60_000 * MS);
        assert!(pace.begin() <= 1000 * MS);
        let (count, _) = attempts(&pace, 60_000 * MS);
        assert!(
            count < 100,
            "{count}: a minute is no reason to ask all the time"
        );
        for _ in 0..REMEMBERED {
            attempts(&pace, 700 * MS);
        }
        assert!(pace.begin() <= 700 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn only_what_was_seen_to_start_is_given_up_and_only_until_it_answers() {
        let waits = StartupWaits::new(Duration::from_secs(30));
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
        let waits = StartupWaits::new(Duration::from_secs(30));
        waits.starts(&Uid::new("left"));
        tokio::time::advance(FORGET).await;
        waits.starts(&Uid::new("next"));
        assert_eq!(waits.lock().len(), 1);
    }
}
