//! When to dial a Pod that starts, through the API server: each attempt there is a WebSocket,
//! and until the Pod listens each one fails.
//!
//! How long a Pod takes to start is known quite well: from those that started before, and for
//! the first from what it is made of. So the attempts begin shortly before that, and then
//! follow in steps that grow with the time passed, so that what is lost by waiting is a small
//! part of what was waited for anyway. News of the Pod cut a wait short.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::options::{InjectVia, Injection};

/// How long Pods took that started before, from their machine being chosen to their first word.
#[derive(Debug)]
pub(crate) struct Pace {
    first: Duration,
    last: Mutex<VecDeque<Duration>>,
}

/// So many are remembered.
const REMEMBERED: usize = 8;
/// The shortest and longest time from the beginning of an attempt to that of the next.
pub(super) const STEP: (Duration, Duration) = (Duration::from_millis(15), Duration::from_secs(1));

impl Pace {
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

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// A Pod that listens after `up`: how many attempts, and how late the last.
    fn attempts(pace: &Pace, up: Duration) -> (u32, Duration) {
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
            let pace = Pace::new(&injection);
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
        let pace = Pace::new(&Injection::default());
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
}
