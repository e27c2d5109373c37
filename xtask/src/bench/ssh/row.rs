//! The results of one client.

use std::collections::BTreeMap;

use anyhow::Result;

use super::protocol::Done;
use super::target::Server;

/// The results of a part of the run, with or without the delay.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) delayed: bool,
    pub(super) rows: Vec<Row>,
}

/// A client, a server, and all measurements of the two.
#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) name: &'static str,
    /// The kind of client, by which it is started.
    pub(super) kind: &'static str,
    pub(super) server: Server,
    pub(super) stripes: usize,
    /// The size of a transfer: bytes or files.
    pub(super) amount: u64,
    pub(super) is_installed: bool,
    done: BTreeMap<&'static str, Vec<Done>>,
    failures: BTreeMap<&'static str, String>,
}

impl Row {
    pub(super) fn new(name: &'static str, kind: &'static str, server: Server) -> Self {
        Self {
            name,
            kind,
            server,
            stripes: 1,
            amount: 0,
            is_installed: true,
            done: BTreeMap::new(),
            failures: BTreeMap::new(),
        }
    }

    pub(super) fn striped(self, stripes: usize) -> Self {
        Self { stripes, ..self }
    }

    /// Records a result; a failure does not end the run.
    pub(super) fn add(&mut self, what: &'static str, result: Result<Done>) {
        match result {
            Ok(done) => self.done.entry(what).or_default().push(done),
            Err(error) => {
                let message = format!("{error:#}");
                eprintln!("{} ({what}): {message}", self.name);
                self.failures.insert(what, message);
            }
        }
    }

    pub(super) fn has_failed(&self, what: &str) -> bool {
        self.failures.contains_key(what)
    }

    pub(super) fn failures(&self) -> impl Iterator<Item = (&&'static str, &String)> {
        self.failures.iter()
    }

    /// The seconds of each run, sorted.
    fn seconds(&self, what: &str) -> Vec<f64> {
        let mut seconds: Vec<f64> = self
            .done
            .get(what)
            .into_iter()
            .flatten()
            .flat_map(|done| done.each.iter().copied())
            .collect();
        seconds.sort_by(f64::total_cmp);
        seconds
    }

    pub(super) fn runs(&self, what: &str) -> usize {
        self.seconds(what).len()
    }

    /// In seconds; `None` if nothing was measured.
    pub(super) fn quantile(&self, what: &str, part: f64) -> Option<f64> {
        let seconds = self.seconds(what);
        seconds
            .get(((seconds.len().saturating_sub(1)) as f64 * part).round() as usize)
            .copied()
    }

    pub(super) fn median(&self, what: &str) -> Option<f64> {
        let seconds = self.seconds(what);
        let last = seconds.len().checked_sub(1)?;
        Some((seconds[last / 2] + seconds[last.div_ceil(2)]) / 2.0)
    }

    /// Commands a second, over all runs.
    pub(super) fn rate(&self, what: &str) -> Option<f64> {
        let done = self.done.get(what)?;
        let (count, seconds) = done.iter().fold((0, 0.0), |(count, seconds), done| {
            (count + done.count, seconds + done.seconds)
        });
        Some(count as f64 / seconds)
    }

    /// Bytes or files a second.
    pub(super) fn speed(&self, what: &str) -> Option<f64> {
        Some(self.amount as f64 / self.median(what)?)
    }

    /// Seconds of processor time for one byte or file.
    pub(super) fn cpu(&self, what: &str) -> Option<f64> {
        let done = self.done.get(what)?;
        let all: f64 = done.iter().map(|done| done.cpu).sum();
        Some(all / done.len() as f64 / self.amount as f64)
    }

    /// KiB.
    pub(super) fn peak(&self) -> Option<u64> {
        self.done.values().flatten().map(|done| done.peak).max()
    }
}
