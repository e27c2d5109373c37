//! The names of what is measured: part of the interface, as docs/OBSERVABILITY.md lists them.

/// One thing that is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, by Prometheus's habits: the unit is in it, and `_total` where it only grows.
    pub name: &'static str,
    /// What it is.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it says.
    pub help: &'static str,
}

/// Kinds of metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// Only grows.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Many values, in seconds.
    Histogram,
}

/// How often something was done, and how long it took.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) count: &'static str,
    pub(super) seconds: &'static str,
}

pub(super) const CREATE: Pair =
    Pair { count: "sandbox_creates_total", seconds: "sandbox_create_duration_seconds" };
pub(super) const DELETE: Pair =
    Pair { count: "sandbox_deletes_total", seconds: "sandbox_delete_duration_seconds" };
pub(super) const COMMAND: Pair =
    Pair { count: "sandbox_commands_total", seconds: "sandbox_command_duration_seconds" };
pub(super) const TRANSFER: Pair =
    Pair { count: "sandbox_transfers_total", seconds: "sandbox_transfer_duration_seconds" };
pub(super) const TRANSFER_BYTES: &str = "sandbox_transfer_bytes_total";
pub(super) const DIAL: Pair =
    Pair { count: "sandbox_ssh_dials_total", seconds: "sandbox_ssh_dial_duration_seconds" };
pub(super) const CONNECTIONS: &str = "sandbox_ssh_connections";
pub(super) const CONNECTIONS_OPENED: &str = "sandbox_ssh_connections_opened_total";
pub(super) const CONNECTIONS_CLOSED: &str = "sandbox_ssh_connections_closed_total";
pub(super) const CHANNELS: &str = "sandbox_ssh_channels_in_use";
pub(super) const SLOT_WAIT: &str = "sandbox_ssh_channel_wait_seconds";
pub(super) const REQUEST: Pair =
    Pair { count: "sandbox_k8s_requests_total", seconds: "sandbox_k8s_request_duration_seconds" };
pub(super) const WATCH_RESTARTS: &str = "sandbox_k8s_watch_restarts_total";

const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric { name, kind, labels, help }
}

use MetricKind::{Counter, Gauge, Histogram};

/// Everything that is measured.
pub const METRICS: &[Metric] = &[
    metric(
        CREATE.count,
        Counter,
        &["backend", "outcome"],
        "Sandboxes that were to be made, by what came of it",
    ),
    metric(
        CREATE.seconds,
        Histogram,
        &["backend", "outcome"],
        "From the request to a sandbox that is set up",
    ),
    metric(DELETE.count, Counter, &["backend", "outcome"], "Deletions, those of failed creations among them"),
    metric(DELETE.seconds, Histogram, &["backend", "outcome"], "From the request until nothing is left"),
    metric(COMMAND.count, Counter, &["kind", "outcome"], "Commands, by how they ended"),
    metric(COMMAND.seconds, Histogram, &["kind", "outcome"], "From the request to a command's end"),
    metric(TRANSFER.count, Counter, &["direction", "outcome"], "Files that were moved or were to be"),
    metric(
        TRANSFER.seconds,
        Histogram,
        &["direction", "outcome"],
        "From the request to a file that is complete",
    ),
    metric(TRANSFER_BYTES, Counter, &["direction"], "Content of the files that were moved"),
    metric(DIAL.count, Counter, &["purpose", "outcome"], "SSH connections that were to be made"),
    metric(
        DIAL.seconds,
        Histogram,
        &["purpose", "outcome"],
        "From the request to an authenticated connection",
    ),
    metric(CONNECTIONS, Gauge, &[], "SSH connections that are open"),
    metric(CONNECTIONS_OPENED, Counter, &[], "SSH connections that were opened"),
    metric(CONNECTIONS_CLOSED, Counter, &[], "SSH connections that ended, for whatever reason"),
    metric(CHANNELS, Gauge, &[], "Channels that somebody uses"),
    metric(
        SLOT_WAIT,
        Histogram,
        &["outcome"],
        "How long a channel was waited for, with a new connection where one was made",
    ),
    metric(
        REQUEST.count,
        Counter,
        &["verb", "resource", "status"],
        "Requests to the API server, each attempt counted",
    ),
    metric(
        REQUEST.seconds,
        Histogram,
        &["verb", "resource", "status"],
        "From a request to the API server's answer",
    ),
    metric(WATCH_RESTARTS, Counter, &["reason"], "How often the watch of all sandboxes had to begin again"),
];

/// Tells the recorder that is installed what each metric is. Call it once, after the recorder was
/// installed; what is measured is the same without.
#[cfg(feature = "metrics")]
pub fn describe() {
    use metrics::Unit;
    for Metric { name, kind, help, .. } in METRICS {
        match kind {
            Counter if *name == TRANSFER_BYTES => metrics::describe_counter!(*name, Unit::Bytes, *help),
            Counter => metrics::describe_counter!(*name, Unit::Count, *help),
            Gauge => metrics::describe_gauge!(*name, Unit::Count, *help),
            Histogram => metrics::describe_histogram!(*name, Unit::Seconds, *help),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_lists_what_is_measured_and_names_say_their_unit() {
        let page = include_str!("../../../../docs/OBSERVABILITY.md");
        let rows: Vec<&str> = page.lines().filter(|line| line.starts_with("| `sandbox_")).collect();
        assert_eq!(rows.len(), METRICS.len());
        for metric in METRICS {
            let kind = match metric.kind {
                Counter => "counter",
                Gauge => "gauge",
                Histogram => "histogram",
            };
            let labels: Vec<String> = metric.labels.iter().map(|label| format!("`{label}`")).collect();
            let row = format!("| `{}` | {kind} | {} | {} |", metric.name, labels.join(", "), metric.help);
            assert!(rows.contains(&row.as_str()), "missing: {row}");
            assert_eq!(metric.name.ends_with("_total"), metric.kind == Counter, "{}", metric.name);
            assert_eq!(metric.name.ends_with("_seconds"), metric.kind == Histogram, "{}", metric.name);
        }
    }
}
