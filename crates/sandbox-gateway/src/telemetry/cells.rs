//! Numbers that many tasks change at once.

use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{CounterFn, GaugeFn, HistogramFn};

/// A number that only grows.
#[derive(Debug, Default)]
pub(super) struct CounterCell(AtomicU64);

/// A number that goes up and down.
#[derive(Debug, Default)]
pub(super) struct GaugeCell(AtomicU64);

/// How many durations were at most so long, for each bound.
#[derive(Debug, Default)]
pub(super) struct HistogramCell {
    counts: [AtomicU64; BOUNDS.len() + 1],
    sum: GaugeCell,
}

/// The bounds in seconds: from a command over an open connection to a creation with a download of an image.
pub(super) const BOUNDS: [f64; 14] = [
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0, 60.0, 300.0,
];

impl CounterCell {
    pub(super) fn value(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl CounterFn for CounterCell {
    fn increment(&self, value: u64) {
        self.0.fetch_add(value, Ordering::Relaxed);
    }

    fn absolute(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }
}

impl GaugeCell {
    pub(super) fn value(&self) -> f64 {
        f64::from_bits(self.0.load(Ordering::Relaxed))
    }

    fn add(&self, value: f64) {
        let add = |bits| Some((f64::from_bits(bits) + value).to_bits());
        // The update always has a value, so it cannot fail.
        let _former = self
            .0
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, add);
    }
}

impl GaugeFn for GaugeCell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.store(value.to_bits(), Ordering::Relaxed);
    }
}

impl HistogramCell {
    /// The number of values up to each bound, and of all, which is the last.
    pub(super) fn cumulative(&self) -> [u64; BOUNDS.len() + 1] {
        let mut total = 0;
        self.counts.each_ref().map(|count| {
            total += count.load(Ordering::Relaxed);
            total
        })
    }

    pub(super) fn sum(&self) -> f64 {
        self.sum.value()
    }
}

impl HistogramFn for HistogramCell {
    fn record(&self, value: f64) {
        let index = BOUNDS.partition_point(|bound| *bound < value);
        self.counts[index].fetch_add(1, Ordering::Relaxed);
        self.sum.add(value);
    }
}
