//! How many sandboxes should wait, by what was taken lately.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use tokio::time::Instant;

/// How long a take counts.
const MEMORY: Duration = Duration::from_secs(300);
/// How many takes are remembered. More would raise the size of a pool only beyond this number.
const MAX_TAKES: usize = 4096;
/// How many creations the fill time is estimated from.
const MAX_FILLS: usize = 32;

/// The latest takes, and how long the latest creations lasted.
#[derive(Debug, Default)]
pub(crate) struct Demand {
    takes: VecDeque<Instant>,
    fills: VecDeque<Duration>,
}

impl Demand {
    pub(crate) fn record_take(&mut self, now: Instant) {
        if self.takes.len() == MAX_TAKES {
            self.takes.pop_front();
        }
        self.takes.push_back(now);
    }

    pub(crate) fn record_fill(&mut self, duration: Duration) {
        if self.fills.len() == MAX_FILLS {
            self.fills.pop_front();
        }
        self.fills.push_back(duration);
    }

    /// Returns how many sandboxes should wait: as many as were taken, in the busiest stretch
    /// lately, in one and a half times the time that a creation takes. Those taken meanwhile are
    /// then replaced in time.
    pub(crate) fn target(&mut self, now: Instant, bounds: &RangeInclusive<usize>) -> usize {
        while self
            .takes
            .front()
            .is_some_and(|take| now.duration_since(*take) > MEMORY)
        {
            self.takes.pop_front();
        }
        let stretch = self.slow_fill() * 3 / 2;
        self.busiest(stretch).clamp(*bounds.start(), *bounds.end())
    }

    /// The time that all but the slowest twentieth of creations took.
    fn slow_fill(&self) -> Duration {
        let mut fills: Vec<Duration> = self.fills.iter().copied().collect();
        fills.sort_unstable();
        let index = (fills.len() * 19).div_ceil(20).saturating_sub(1);
        fills.get(index).copied().unwrap_or_default()
    }

    /// The greatest number of takes in any stretch of this length.
    fn busiest(&self, stretch: Duration) -> usize {
        let mut first = 0;
        let mut most = 0;
        for (last, take) in self.takes.iter().enumerate() {
            while take.duration_since(self.takes[first]) > stretch {
                first += 1;
            }
            most = most.max(last + 1 - first);
        }
        most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_target_follows_the_busiest_stretch_and_forgets_it() {
        let start = Instant::now();
        let at = |seconds: f64| start + Duration::from_secs_f64(seconds);
        let mut demand = Demand::default();
        assert_eq!(demand.target(start, &(2..=10)), 2);
        demand.record_fill(Duration::from_secs(2));
        // Five within three seconds, then one a minute.
        for seconds in [0.0, 0.5, 1.0, 2.0, 2.9, 60.0, 120.0] {
            demand.record_take(at(seconds));
        }
        assert_eq!(demand.target(at(120.0), &(2..=10)), 5);
        assert_eq!(demand.target(at(120.0), &(2..=4)), 4);
        assert_eq!(demand.target(at(120.0), &(8..=10)), 8);
        assert_eq!(demand.target(at(310.0), &(0..=10)), 1);
        assert_eq!(demand.target(at(1000.0), &(0..=10)), 0);
    }

    #[test]
    fn the_fill_time_leaves_out_the_slowest_twentieth() {
        let mut demand = Demand::default();
        assert_eq!(demand.slow_fill(), Duration::ZERO);
        for seconds in (1..=20).rev() {
            demand.record_fill(Duration::from_secs(seconds));
        }
        assert_eq!(demand.slow_fill(), Duration::from_secs(19));
    }
}
