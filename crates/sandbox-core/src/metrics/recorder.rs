//! Passes metrics to the crate `metrics`; without the feature, functions that do nothing.

use std::borrow::Cow;

/// Whether metrics are recorded.
pub(super) const ENABLED: bool = cfg!(feature = "metrics");

/// The name and the value of a label. Each label has few values.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// The labels whose values are known when an operation starts: one or two.
pub(super) type StartLabels = (
    (&'static str, &'static str),
    Option<(&'static str, &'static str)>,
);

/// The label whose value is known only at the end of an operation.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "nothing is recorded")
)]
pub(super) struct ResultLabel {
    pub(super) name: &'static str,
    /// Its value if the caller dropped the operation before its end.
    pub(super) if_dropped: &'static str,
}

/// The start of a wait.
#[derive(Debug, Clone, Copy)]
pub struct Timer {
    #[cfg(feature = "metrics")]
    started: std::time::Instant,
}

impl Timer {
    /// Starts a timer.
    pub fn start() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            started: std::time::Instant::now(),
        }
    }
}

#[cfg(feature = "metrics")]
mod implementation {
    use std::borrow::Cow;

    use super::super::names::Pair;
    use super::{Label, ResultLabel, StartLabels, Timer};

    /// An operation in progress, with its labels. It is recorded when it is finished or dropped.
    #[derive(Debug)]
    pub(in super::super) struct Recording {
        metrics: Pair,
        labels: StartLabels,
        result: ResultLabel,
        timer: Timer,
        finished: bool,
    }

    impl Recording {
        pub(in super::super) fn start(
            metrics: Pair,
            labels: StartLabels,
            result: ResultLabel,
        ) -> Self {
            Self {
                metrics,
                labels,
                result,
                timer: Timer::start(),
                finished: false,
            }
        }

        pub(in super::super) fn finish(mut self, result: impl Into<Cow<'static, str>>) {
            self.finished = true;
            self.record(result.into());
        }

        /// Adds to another counter, with the labels of the start.
        pub(in super::super) fn add_to_counter(&self, name: &'static str, amount: u64) {
            add_to_counter(name, amount, &self.start_labels().collect::<Vec<_>>());
        }

        fn start_labels(&self) -> impl Iterator<Item = Label> {
            let (first, second) = self.labels;
            std::iter::once(first)
                .chain(second)
                .map(|(name, value)| (name, value.into()))
        }

        fn record(&self, result: Cow<'static, str>) {
            let labels: Vec<Label> = self
                .start_labels()
                .chain([(self.result.name, result)])
                .collect();
            add_to_counter(self.metrics.count, 1, &labels);
            record_duration(self.metrics.seconds, self.timer, &labels);
        }
    }

    impl Drop for Recording {
        fn drop(&mut self) {
            if !self.finished {
                self.record(self.result.if_dropped.into());
            }
        }
    }

    pub(in super::super) fn add_to_counter(name: &'static str, amount: u64, labels: &[Label]) {
        metrics::counter!(name, convert_labels(labels)).increment(amount);
    }

    pub(in super::super) fn record_duration(name: &'static str, timer: Timer, labels: &[Label]) {
        let seconds = timer.started.elapsed().as_secs_f64();
        metrics::histogram!(name, convert_labels(labels)).record(seconds);
    }

    pub(in super::super) fn add_to_gauge(name: &'static str, amount: f64) {
        metrics::gauge!(name).increment(amount);
    }

    fn convert_labels(labels: &[Label]) -> Vec<metrics::Label> {
        labels
            .iter()
            .map(|(name, value)| metrics::Label::new(*name, value.clone()))
            .collect()
    }
}

#[cfg(not(feature = "metrics"))]
mod implementation {
    use super::super::names::Pair;
    use super::{Label, ResultLabel, StartLabels, Timer};

    #[derive(Debug)]
    pub(in super::super) struct Recording;

    impl Recording {
        #[inline(always)]
        pub(in super::super) fn start(_: Pair, _: StartLabels, _: ResultLabel) -> Self {
            Self
        }

        #[inline(always)]
        pub(in super::super) fn finish(self, _: impl Into<std::borrow::Cow<'static, str>>) {}

        #[inline(always)]
        pub(in super::super) fn add_to_counter(&self, _: &'static str, _: u64) {}
    }

    #[inline(always)]
    pub(in super::super) fn add_to_counter(_: &'static str, _: u64, _: &[Label]) {}

    #[inline(always)]
    pub(in super::super) fn record_duration(_: &'static str, _: Timer, _: &[Label]) {}

    #[inline(always)]
    pub(in super::super) fn add_to_gauge(_: &'static str, _: f64) {}
}

pub(super) use implementation::{Recording, add_to_counter, add_to_gauge, record_duration};
