//! Keeps metrics, and writes them as Prometheus reads them.

use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};

use super::cells::{BOUNDS, CounterCell, GaugeCell, HistogramCell};
use super::names;
use crate::error::GatewayError;

/// Keeps the metrics of the SDK and of the gateway, and writes them in
/// [Prometheus' text format](https://prometheus.io/docs/instrumenting/exposition_formats/). Clones share them.
#[derive(Clone, Default)]
pub(crate) struct PrometheusRecorder {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    help: BTreeMap<String, String>,
    counters: Family<CounterCell>,
    gauges: Family<GaugeCell>,
    histograms: Family<HistogramCell>,
}

/// The cells of a kind, by name and then by labels as text. There are few: names and labels are the programs' own.
type Family<T> = BTreeMap<String, BTreeMap<String, Arc<T>>>;

impl PrometheusRecorder {
    /// Returns the recorder of the program, which is installed first if it has none.
    ///
    /// # Errors
    ///
    /// If the program has another one.
    pub(crate) fn installed() -> Result<Self, GatewayError> {
        static INSTALLED: OnceLock<Option<PrometheusRecorder>> = OnceLock::new();
        let installed = INSTALLED.get_or_init(|| {
            let recorder = Self::default();
            metrics::set_global_recorder(recorder.clone()).ok()?;
            sandbox::metrics::describe();
            names::describe();
            Some(recorder)
        });
        let mistake = "metrics-listen: the program has a recorder of metrics already; leave it out";
        installed
            .clone()
            .ok_or_else(|| GatewayError::Config(vec![mistake.to_owned()]))
    }

    /// Writes all metrics.
    pub(crate) fn render(&self) -> String {
        let state = self.lock();
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _written: fmt::Result = state.write(&mut text);
        text
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn write(&self, out: &mut String) -> fmt::Result {
        for (name, cells) in &self.counters {
            self.write_head(out, name, "counter")?;
            for (labels, cell) in cells {
                writeln!(out, "{name}{} {}", in_braces(labels, ""), cell.value())?;
            }
        }
        for (name, cells) in &self.gauges {
            self.write_head(out, name, "gauge")?;
            for (labels, cell) in cells {
                writeln!(out, "{name}{} {}", in_braces(labels, ""), cell.value())?;
            }
        }
        for (name, cells) in &self.histograms {
            self.write_head(out, name, "histogram")?;
            for (labels, cell) in cells {
                let counts = cell.cumulative();
                let bounds = BOUNDS.iter().map(f64::to_string).chain(["+Inf".to_owned()]);
                for (bound, count) in bounds.zip(counts) {
                    writeln!(
                        out,
                        "{name}_bucket{} {count}",
                        in_braces(labels, &format!("le=\"{bound}\""))
                    )?;
                }
                writeln!(out, "{name}_sum{} {}", in_braces(labels, ""), cell.sum())?;
                writeln!(
                    out,
                    "{name}_count{} {}",
                    in_braces(labels, ""),
                    counts[BOUNDS.len()]
                )?;
            }
        }
        Ok(())
    }

    fn write_head(&self, out: &mut String, name: &str, kind: &str) -> fmt::Result {
        if let Some(help) = self.help.get(name) {
            writeln!(
                out,
                "# HELP {name} {}",
                help.replace('\\', "\\\\").replace('\n', "\\n")
            )?;
        }
        writeln!(out, "# TYPE {name} {kind}")
    }
}

fn in_braces(labels: &str, more: &str) -> String {
    match (labels.is_empty(), more.is_empty()) {
        (true, true) => String::new(),
        (false, true) => format!("{{{labels}}}"),
        (true, false) => format!("{{{more}}}"),
        (false, false) => format!("{{{labels},{more}}}"),
    }
}

/// Labels as text: `a="1",b="2"`.
fn labels_of(key: &Key) -> String {
    let escape = |value: &str| {
        value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n")
    };
    let labels: Vec<String> = key
        .labels()
        .map(|label| format!("{}=\"{}\"", label.key(), escape(label.value())))
        .collect();
    labels.join(",")
}

fn cell<T: Default>(family: &mut Family<T>, key: &Key) -> Arc<T> {
    let cells = family.entry(key.name().to_owned()).or_default();
    Arc::clone(cells.entry(labels_of(key)).or_default())
}

impl Recorder for PrometheusRecorder {
    fn describe_counter(&self, key: KeyName, _unit: Option<Unit>, description: SharedString) {
        self.lock()
            .help
            .insert(key.as_str().to_owned(), description.into_owned());
    }

    fn describe_gauge(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn describe_histogram(&self, key: KeyName, unit: Option<Unit>, description: SharedString) {
        self.describe_counter(key, unit, description);
    }

    fn register_counter(&self, key: &Key, _metadata: &Metadata<'_>) -> Counter {
        cell(&mut self.lock().counters, key).into()
    }

    fn register_gauge(&self, key: &Key, _metadata: &Metadata<'_>) -> Gauge {
        cell(&mut self.lock().gauges, key).into()
    }

    fn register_histogram(&self, key: &Key, _metadata: &Metadata<'_>) -> Histogram {
        cell(&mut self.lock().histograms, key).into()
    }
}

impl fmt::Debug for PrometheusRecorder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusRecorder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_written_as_prometheus_reads_them() {
        let recorder = PrometheusRecorder::default();
        metrics::with_local_recorder(&recorder, || {
            metrics::describe_counter!("made_total", "How many.");
            metrics::counter!("made_total", "by" => "a\"b").increment(2);
            metrics::counter!("made_total", "by" => "a\"b").increment(1);
            metrics::gauge!("open").increment(2.0);
            metrics::gauge!("open").decrement(0.5);
            metrics::histogram!("took_seconds").record(0.002);
            metrics::histogram!("took_seconds").record(1000.0);
        });
        let text = recorder.render();
        for line in [
            "# HELP made_total How many.",
            "# TYPE made_total counter",
            "made_total{by=\"a\\\"b\"} 3",
            "open 1.5",
            "took_seconds_bucket{le=\"0.001\"} 0",
            "took_seconds_bucket{le=\"0.0025\"} 1",
            "took_seconds_bucket{le=\"300\"} 1",
            "took_seconds_bucket{le=\"+Inf\"} 2",
            "took_seconds_sum 1000.002",
            "took_seconds_count 2",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
    }
}
