//! The names of the metrics. They are part of the public interface, listed in
//! docs/OBSERVABILITY.md.

/// A metric that the SDK reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Metric {
    /// Its name, by Prometheus's conventions: it contains the unit, and ends in `_total` for a
    /// counter.
    pub name: &'static str,
    /// Its kind.
    pub kind: MetricKind,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// Its help text.
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
    /// A distribution of durations, in seconds.
    Histogram,
}

/// The count of an operation, and its duration.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pair {
    pub(super) count: &'static str,
    pub(super) seconds: &'static str,
}

pub(super) const CREATE: Pair = Pair {
    count: "sandbox_creates_total",
    seconds: "sandbox_create_duration_seconds",
};
pub(super) const POOL_TAKE: Pair = Pair {
    count: "sandbox_pool_takes_total",
    seconds: "sandbox_pool_take_duration_seconds",
};
pub(super) const POOL_WAITING: &str = "sandbox_pool_waiting";
pub(super) const POOL_MISSES: &str = "sandbox_pool_misses_total";
pub(super) const DELETE: Pair = Pair {
    count: "sandbox_deletes_total",
    seconds: "sandbox_delete_duration_seconds",
};
pub(super) const COMMAND: Pair = Pair {
    count: "sandbox_commands_total",
    seconds: "sandbox_command_duration_seconds",
};
pub(super) const TRANSFER: Pair = Pair {
    count: "sandbox_transfers_total",
    seconds: "sandbox_transfer_duration_seconds",
};
pub(super) const TRANSFER_BYTES: &str = "sandbox_transfer_bytes_total";
pub(super) const DIAL: Pair = Pair {
    count: "sandbox_ssh_dials_total",
    seconds: "sandbox_ssh_dial_duration_seconds",
};
pub(super) const CONNECTIONS: &str = "sandbox_ssh_connections";
pub(super) const CONNECTIONS_OPENED: &str = "sandbox_ssh_connections_opened_total";
pub(super) const CONNECTIONS_CLOSED: &str = "sandbox_ssh_connections_closed_total";
pub(super) const CHANNELS: &str = "sandbox_ssh_channels_in_use";
pub(super) const SLOT_WAIT: &str = "sandbox_ssh_channel_wait_seconds";
pub(super) const REQUEST: Pair = Pair {
    count: "sandbox_k8s_requests_total",
    seconds: "sandbox_k8s_request_duration_seconds",
};
pub(super) const WATCH_RESTARTS: &str = "sandbox_k8s_watch_restarts_total";
pub(super) const EGRESS: &str = "sandbox_egress_connections_total";
pub(super) const EGRESS_BYTES: &str = "sandbox_egress_bytes_total";

const fn metric(
    name: &'static str,
    kind: MetricKind,
    labels: &'static [&'static str],
    help: &'static str,
) -> Metric {
    Metric {
        name,
        kind,
        labels,
        help,
    }
}

use MetricKind::{Counter, Gauge, Histogram};

/// All metrics that the SDK reports.
pub const METRICS: &[Metric] = &[
    metric(
        CREATE.count,
        Counter,
        &["backend", "outcome"],
        "Sandbox creations, by outcome",
    ),
    metric(
        CREATE.seconds,
        Histogram,
        &["backend", "outcome"],
        "Time from the request until the sandbox is set up",
    ),
    metric(
        POOL_TAKE.count,
        Counter,
        &["backend", "outcome"],
        "Sandboxes taken from pools, by outcome",
    ),
    metric(
        POOL_TAKE.seconds,
        Histogram,
        &["backend", "outcome"],
        "Time from the request until the sandbox is set up",
    ),
    metric(POOL_WAITING, Gauge, &[], "Sandboxes that wait in pools"),
    metric(
        POOL_MISSES,
        Counter,
        &[],
        "Takes from pools that found no sandbox waiting",
    ),
    metric(
        DELETE.count,
        Counter,
        &["backend", "outcome"],
        "Sandbox deletions, including those after failed creations",
    ),
    metric(
        DELETE.seconds,
        Histogram,
        &["backend", "outcome"],
        "Time from the request until nothing is left",
    ),
    metric(
        COMMAND.count,
        Counter,
        &["kind", "outcome"],
        "Commands, by outcome",
    ),
    metric(
        COMMAND.seconds,
        Histogram,
        &["kind", "outcome"],
        "Time from the request until the command has ended",
    ),
    metric(
        TRANSFER.count,
        Counter,
        &["direction", "outcome"],
        "File transfers, by outcome",
    ),
    metric(
        TRANSFER.seconds,
        Histogram,
        &["direction", "outcome"],
        "Time from the request until the file is complete",
    ),
    metric(
        TRANSFER_BYTES,
        Counter,
        &["direction"],
        "Content of completely transferred files",
    ),
    metric(
        DIAL.count,
        Counter,
        &["purpose", "outcome"],
        "SSH connections dialled, by outcome",
    ),
    metric(
        DIAL.seconds,
        Histogram,
        &["purpose", "outcome"],
        "Time from the request to an authenticated connection",
    ),
    metric(CONNECTIONS, Gauge, &[], "Open SSH connections"),
    metric(CONNECTIONS_OPENED, Counter, &[], "SSH connections opened"),
    metric(
        CONNECTIONS_CLOSED,
        Counter,
        &[],
        "SSH connections closed, for any reason",
    ),
    metric(CHANNELS, Gauge, &[], "SSH channels in use"),
    metric(
        SLOT_WAIT,
        Histogram,
        &["outcome"],
        "Time spent waiting for a channel, including a new connection if one was made",
    ),
    metric(
        REQUEST.count,
        Counter,
        &["verb", "resource", "status"],
        "Requests to the API server; each attempt counts",
    ),
    metric(
        REQUEST.seconds,
        Histogram,
        &["verb", "resource", "status"],
        "Time from a request to the API server's response",
    ),
    metric(
        WATCH_RESTARTS,
        Counter,
        &["reason"],
        "Restarts of the watch on all sandboxes",
    ),
    metric(
        EGRESS,
        Counter,
        &["outcome"],
        "Connections and requests of sandboxes through their egress proxies: refused, failed, opened, closed or revoked",
    ),
    metric(
        EGRESS_BYTES,
        Counter,
        &["direction"],
        "Content of connections through egress proxies, counted when they end",
    ),
];

/// Registers the help text and unit of each metric with the installed recorder. Call it once, after
/// installing the recorder. It is optional: metrics are reported without it too.
#[cfg(feature = "metrics")]
pub fn describe() {
    use metrics::Unit;
    for Metric {
        name, kind, help, ..
    } in METRICS
    {
        match kind {
            Counter if [TRANSFER_BYTES, EGRESS_BYTES].contains(name) => {
                metrics::describe_counter!(*name, Unit::Bytes, *help)
            }
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
    fn the_page_lists_all_metrics_and_names_contain_the_unit() {
        let page = include_str!("../../../../docs/OBSERVABILITY.md");
        let rows: Vec<&str> = page
            .lines()
            .filter(|line| line.starts_with("| `sandbox_"))
            .collect();
        assert_eq!(rows.len(), METRICS.len());
        for metric in METRICS {
            let kind = match metric.kind {
                Counter => "counter",
                Gauge => "gauge",
                Histogram => "histogram",
            };
            let labels: Vec<String> = metric
                .labels
                .iter()
                .map(|label| format!("`{label}`"))
                .collect();
            let row = format!(
                "| `{}` | {kind} | {} | {} |",
                metric.name,
                labels.join(", "),
                metric.help
            );
            assert!(rows.contains(&row.as_str()), "missing: {row}");
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Counter,
                "{}",
                metric.name
            );
            assert_eq!(
                metric.name.ends_with("_seconds"),
                metric.kind == Histogram,
                "{}",
                metric.name
            );
        }
    }
}
