//! Collects durations and prints tables of them.

use std::time::{Duration, Instant};

/// The durations of the runs of one thing.
#[derive(Default)]
pub(crate) struct Figures(Vec<Duration>);

impl Figures {
    pub(crate) fn add(&mut self, since: Instant) {
        self.0.push(since.elapsed());
    }

    pub(crate) fn add_duration(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    #[cfg(feature = "bench-k8s")]
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// The ratios of these durations to those of the same rounds of `other`, from the smallest.
    pub(crate) fn ratios(&self, other: &Self) -> Vec<f64> {
        let rounds = self.0.iter().zip(&other.0);
        let mut ratios: Vec<f64> = rounds
            .map(|(own, other)| own.as_secs_f64() / other.as_secs_f64())
            .collect();
        ratios.sort_by(f64::total_cmp);
        ratios
    }

    /// A quantile (0 to 1) in milliseconds.
    pub(crate) fn quantile(&self, part: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort();
        let last = sorted.len().saturating_sub(1);
        let index = ((last as f64) * part).round() as usize;
        sorted
            .get(index)
            .map_or(f64::NAN, |duration| duration.as_secs_f64() * 1000.0)
    }

    /// The runs that took more than three times the median, as their numbers and milliseconds. Where they are says why
    /// more often than how long they took.
    pub(crate) fn outliers(&self) -> Vec<(usize, f64)> {
        let limit = self.median() * 3.0;
        let took = self.0.iter().map(|took| took.as_secs_f64() * 1000.0);
        (1..).zip(took).filter(|(_, took)| *took > limit).collect()
    }
}

/// Prints a table in Markdown. The ratios are to the row named as the peer.
pub(crate) fn table(title: &str, peer: &str, rows: &[(&str, Option<&Figures>)]) {
    let base = rows
        .iter()
        .find(|(name, _)| *name == peer)
        .and_then(|(_, figures)| *figures)
        .map(Figures::median);
    println!("\n### {title}\n");
    println!(
        "| | runs | median ms | 99th ms | worst ms | median / {peer} |\n|---|---:|---:|---:|---:|---:|"
    );
    for (name, figures) in rows {
        let Some(figures) = figures else {
            println!("| {name} | not installed | | | | |");
            continue;
        };
        let ratio = base.map_or_else(
            || "-".to_owned(),
            |base| format!("{:.2}", figures.median() / base),
        );
        println!(
            "| {name} | {} | {:.2} | {:.2} | {:.2} | {ratio} |",
            figures.0.len(),
            figures.median(),
            figures.quantile(0.99),
            figures.quantile(1.0),
        );
    }
}
