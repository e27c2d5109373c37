//! The rate of requests.

use std::time::Instant;

/// A bucket that fills at a rate, and from which each request takes one.
#[derive(Debug)]
pub(super) struct Bucket {
    tokens: f64,
    filled_at: Instant,
}

/// How many seconds' worth of requests may come at once.
const BURST: f64 = 2.0;

impl Bucket {
    pub(super) fn full(rate: u32, now: Instant) -> Self {
        Self {
            tokens: f64::from(rate) * BURST,
            filled_at: now,
        }
    }

    /// Takes one, or returns the number of seconds until there is one.
    pub(super) fn take(&mut self, rate: u32, now: Instant) -> Result<(), u64> {
        let rate = f64::from(rate);
        let elapsed = now.saturating_duration_since(self.filled_at).as_secs_f64();
        self.tokens = (self.tokens + elapsed * rate).min(rate * BURST);
        self.filled_at = now;
        if self.tokens >= 1.0 {
            self.tokens -= 1.0;
            return Ok(());
        }
        let missing = (1.0 - self.tokens) / rate;
        // A rate is at least one a second, so this is a small number.
        Err(missing.ceil().max(1.0) as u64)
    }
}
