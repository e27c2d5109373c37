//! When to dial a Pod that starts through the API server, and how long its server may take.
//!
//! Each attempt through the API server is a connection, and it fails until the Pod listens. The time that a
//! Pod takes to start can be predicted: from the Pods before it, and for the first one from its manifest.
//! Attempts start shortly before that time, and follow in steps that grow with the time passed, so that
//! the time lost by waiting stays a small part of the whole. A change of the Pod ends a wait early.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sandbox_core::Uid;
use tokio::time::Instant;

use crate::lock::lock;
use crate::manifest::options::{InjectVia, Injection};

/// How long the last Pods took, from their scheduling to their first response.
#[derive(Debug)]
pub(crate) struct StartupTimes {
    /// The prediction for the first Pod.
    initial: Duration,
    recent: Mutex<VecDeque<Duration>>,
}

/// The number of startup times that are kept.
const MAX_SAMPLES: usize = 8;
/// The shortest and the longest time from the start of one attempt to the start of the next.
const MIN_STEP: Duration = Duration::from_millis(15);
pub(super) const MAX_STEP: Duration = Duration::from_secs(1);

impl StartupTimes {
    /// The initial predictions are measured: a Pod without volumes runs after 200 ms; with any volume, the
    /// kubelet checks only every 300 ms whether it is mounted; an init container adds its own time.
    pub(crate) fn new(injection: &Injection) -> Self {
        let initial = match injection {
            Injection::Baked { .. } | Injection::Inject(InjectVia::Upload) => 150,
            Injection::Inject(InjectVia::ImageVolume | InjectVia::UploadVolume)
            | Injection::Image(_) => 400,
            Injection::Inject(InjectVia::Auto | InjectVia::InitContainer) => 500,
        };
        Self {
            initial: Duration::from_millis(initial),
            recent: Mutex::default(),
        }
    }

    /// Returns how long after its scheduling a Pod is dialled first. One slow start does not delay the next.
    pub(super) fn first_attempt(&self) -> Duration {
        let shortest = lock(&self.recent).iter().min().copied();
        shortest.map_or(self.initial, |shortest| {
            shortest.clamp(self.initial / 4, self.initial * 2)
        })
    }

    /// Returns the time from an attempt to the next, if the attempt started `elapsed` after the Pod's
    /// scheduling. Steps are longer while no startup time has been measured.
    pub(super) fn step(&self, elapsed: Duration) -> Duration {
        let divisor = if lock(&self.recent).is_empty() { 5 } else { 10 };
        (elapsed / divisor).clamp(MIN_STEP, MAX_STEP)
    }

    /// Records how long a Pod took to respond, and whether it responded to the first attempt.
    pub(super) fn record(&self, elapsed: Duration, at_first_attempt: bool) {
        // A Pod that responded to the first attempt may have been ready before. Another one was not ready
        // one step earlier.
        let uncertainty = if at_first_attempt {
            elapsed / 10
        } else {
            self.step(elapsed)
        };
        let mut recent = lock(&self.recent);
        if recent.len() == MAX_SAMPLES {
            recent.pop_front();
        }
        recent.push_back(elapsed.saturating_sub(uncertainty));
    }
}

/// The servers that have been observed to start and have not responded yet.
#[derive(Debug)]
pub(crate) struct StartupWaits {
    grace: Duration,
    since: Mutex<HashMap<Uid, Wait>>,
}

#[derive(Debug)]
struct Wait {
    first_seen: Instant,
    running: Option<Instant>,
}

/// Entries are dropped after this time. Their callers gave up without a result.
const MAX_AGE: Duration = Duration::from_secs(3600);

impl StartupWaits {
    pub(crate) fn new(grace: Duration) -> Self {
        Self {
            grace,
            since: Mutex::default(),
        }
    }

    /// Records that the server is about to start.
    pub(super) fn record_start(&self, uid: &Uid) {
        let mut since = self.lock();
        since.retain(|_, wait| wait.first_seen.elapsed() < MAX_AGE);
        since.entry(uid.clone()).or_insert_with(|| Wait {
            first_seen: Instant::now(),
            running: None,
        });
    }

    /// Records that the container runs. A server that was not observed to start is ignored: it may have
    /// been running for days.
    pub(super) fn record_running(&self, uid: &Uid) {
        if let Some(wait) = self.lock().get_mut(uid) {
            wait.running.get_or_insert_with(Instant::now);
        }
    }

    /// Stops the wait: the server has responded, or has ended.
    pub(super) fn remove(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    /// Returns the grace period of a server that has exceeded it.
    pub(super) fn exceeded_grace(&self, uid: &Uid) -> Option<Duration> {
        let running = self.lock().get(uid)?.running?;
        (running.elapsed() >= self.grace).then_some(self.grace)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Uid, Wait>> {
        lock(&self.since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const MS: Duration = Duration::from_millis(1);

    /// A Pod that listens after `up`: how many attempts, and how late the last.
    fn attempts(startup_times: &StartupTimes, up: Duration) -> (u32, Duration) {
        let (mut at, mut count) = (startup_times.first_attempt(), 1);
        while at < up {
            at += startup_times.step(at);
            count += 1;
        }
        startup_times.record(at, count == 1);
        (count, at - up)
    }

    #[test]
    fn few_attempts_lose_little_time() {
        for (injection, up) in [
            (Injection::baked(), 230 * MS),
            (Injection::Inject(InjectVia::ImageVolume), 515 * MS),
            (Injection::default(), 700 * MS),
        ] {
            let startup_times = StartupTimes::new(&injection);
            let (count, late) = attempts(&startup_times, up);
            assert!(
                count <= 4 && late <= up / 4,
                "first: {count} attempts, {late:?} late"
            );
            // Others are a little faster or slower.
            for round in 0..40_u32 {
                let up = up + MS * (round * 7 % 60);
                let (count, late) = attempts(&startup_times, up);
                assert!(
                    count <= 6 && late <= up / 8,
                    "{round}: {count} attempts, {late:?} late"
                );
            }
        }
    }

    #[test]
    fn one_slow_start_does_not_delay_the_next() {
        let startup_times = StartupTimes::new(&Injection::default());
        attempts(&startup_times, 60_000 * MS);
        assert!(startup_times.first_attempt() <= 1000 * MS);
        let (count, _) = attempts(&startup_times, 60_000 * MS);
        assert!(
            count < 100,
            "{count}: a long start does not cause an attempt at every step"
        );
        for _ in 0..MAX_SAMPLES {
            attempts(&startup_times, 700 * MS);
        }
        assert!(startup_times.first_attempt() <= 700 * MS);
    }

    #[tokio::test(start_paused = true)]
    async fn only_servers_observed_to_start_exceed_the_grace_period() {
        let waits = StartupWaits::new(Duration::from_secs(30));
        let (new, old) = (Uid::new("new"), Uid::new("old"));
        waits.record_start(&new);
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(waits.exceeded_grace(&new), None, "not running yet");
        waits.record_running(&new);
        waits.record_running(&old);
        tokio::time::advance(Duration::from_secs(29)).await;
        waits.record_running(&new);
        assert_eq!(waits.exceeded_grace(&new), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(waits.exceeded_grace(&new), Some(Duration::from_secs(30)));
        assert_eq!(waits.exceeded_grace(&old), None);
        waits.remove(&new);
        assert_eq!(waits.exceeded_grace(&new), None);
    }

    #[tokio::test(start_paused = true)]
    async fn old_waits_are_dropped() {
        let waits = StartupWaits::new(Duration::from_secs(30));
        waits.record_start(&Uid::new("left"));
        tokio::time::advance(MAX_AGE).await;
        waits.record_start(&Uid::new("next"));
        assert_eq!(waits.lock().len(), 1);
    }
}
