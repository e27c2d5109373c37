//! The crate `metrics`, or nothing.

use std::borrow::Cow;

/// Whether anything is measured at all.
pub(super) const ON: bool = cfg!(feature = "metrics");

/// A name and a value, of which there are few.
pub(super) type Label = (&'static str, Cow<'static, str>);

/// What is known of something when it begins.
pub(super) type Known = (
    (&'static str, &'static str),
    Option<(&'static str, &'static str)>,
);

/// What is known of it only at its end.
#[derive(Debug, Clone, Copy)]
#[cfg_attr(
    not(feature = "metrics"),
    allow(dead_code, reason = "nothing is recorded")
)]
pub(super) struct End {
    pub(super) label: &'static str,
    /// Its value where the end was not waited for.
    pub(super) dropped: &'static str,
}

/// When something began.
#[derive(Debug, Clone, Copy)]
pub struct Begun {
    #[cfg(feature = "metrics")]
    at: std::time::Instant,
}

impl Begun {
    /// It begins now.
    #[allow(clippy::new_without_default, reason = "it is a moment")]
    pub fn now() -> Self {
        Self {
            #[cfg(feature = "metrics")]
            at: std::time::Instant::now(),
        }
    }
}

#[cfg(feature = "metrics")]
mod through {
    use std::borrow::Cow;

    use super::super::names::Pair;
    use super::{Begun, End, Known, Label};

    /// Something underway, and what is known of it.
    #[derive(Debug)]
    pub(in super::super) struct Kept {
        metrics: Pair,
        known: Known,
        end: End,
        begun: Begun,
        told: bool,
    }

    impl Kept {
        pub(in super::super) fn new(metrics: Pair, known: Known, end: End) -> Self {
            Self {
                metrics,
                known,
                end,
                begun: Begun::now(),
                told: false,
            }
        }

        pub(in super::super) fn tell(mut self, end: impl Into<Cow<'static, str>>) {
            self.told = true;
            self.record(end.into());
        }

        /// Adds to another metric, with the labels that are known.
        pub(in super::super) fn add(&self, name: &'static str, by: u64) {
            add(name, by, &self.labels().collect::<Vec<_>>());
        }

        fn labels(&self) -> impl Iterator<Item = Label> {
            let (first, second) = self.known;
            std::iter::once(first)
                .chain(second)
                .map(|(name, value)| (name, value.into()))
        }

        fn record(&self, end: Cow<'static, str>) {
            let labels: Vec<Label> = self.labels().chain([(self.end.label, end)]).collect();
            add(self.metrics.count, 1, &labels);
            observe(self.metrics.seconds, self.begun, &labels);
        }
    }

    impl Drop for Kept {
        fn drop(&mut self) {
            if !self.told {
                self.record(self.end.dropped.into());
            }
        }
    }

    pub(in super::super) fn add(name: &'static str, by: u64, labels: &[Label]) {
        metrics::counter!(name, of(labels)).increment(by);
    }

    pub(in super::super) fn observe(name: &'static str, begun: Begun, labels: &[Label]) {
        metrics::histogram!(name, of(labels)).record(begun.at.elapsed().as_secs_f64());
    }

    pub(in super::super) fn shift(name: &'static str, by: f64) {
        metrics::gauge!(name).increment(by);
    }

    fn of(labels: &[Label]) -> Vec<metrics::Label> {
        labels
            .iter()
            .map(|(name, value)| metrics::Label::new(*name, value.clone()))
            .collect()
    }
}

#[cfg(not(feature = "metrics"))]
mod through {
    use super::super::names::Pair;
    use super::{Begun, End, Known, Label};

    #[derive(Debug)]
    pub(in super::super) struct Kept;

    impl Kept {
        #[inline(always)]
        pub(in super::super) fn new(_: Pair, _: Known, _: End) -> Self {
            Self
        }

        #[inline(always)]
        pub(in super::super) fn tell(self, _: impl Into<std::borrow::Cow<'static, str>>) {}

        #[inline(always)]
        pub(in super::super) fn add(&self, _: &'static str, _: u64) {}
    }

    #[inline(always)]
    pub(in super::super) fn add(_: &'static str, _: u64, _: &[Label]) {}

    #[inline(always)]
    pub(in super::super) fn observe(_: &'static str, _: Begun, _: &[Label]) {}

    #[inline(always)]
    pub(in super::super) fn shift(_: &'static str, _: f64) {}
}

pub(super) use through::{Kept, add, observe, shift};
