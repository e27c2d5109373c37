//! The metrics that a recorder gets are those of `METRICS`, with the right counts, and no label has
//! a secret.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

mod support;

use std::time::Duration;

use metrics_util::MetricKind as RecordedKind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sandbox::metrics::{METRICS, MetricKind};
use sandbox::{Client, ExecEvent, Result};

/// Must be in no label.
const SECRET: &str = "hush-hush";

fn main() {
    sandbox::local::init();
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    recorder.install().expect("the only recorder");
    sandbox::metrics::describe();
    support::run_locally(use_everything);
    check(&snapshotter);
    println!("the recorded metrics are those of the calls");
}

/// Makes calls of every kind that is measured, with every outcome that a test can cause.
async fn use_everything(client: Client) -> Result<()> {
    let refused = client.sandbox().image("python:3.12-slim").create().await;
    assert!(refused.is_err(), "the local backend has no images");

    let sbx = client
        .sandbox()
        .secret_env("TOKEN", SECRET)
        .create()
        .await?;
    for code in ["0", "0", "3", "4"] {
        drop(
            sbx.command("sh")
                .args(["-c", &format!("exit {code} # {SECRET}")])
                .output()
                .await?,
        );
    }
    drop(
        sbx.command("sleep")
            .arg("60")
            .timeout(Duration::from_millis(50))
            .output()
            .await,
    );
    let mut stream = sbx.command("cat").stdin("as it comes").spawn().await?;
    while let Some(event) = stream.next().await {
        assert!(!matches!(event?, ExecEvent::Stderr(_)));
    }
    let job = sbx.command("true").spawn_detached().await?;
    let _ended = job.wait().await?;

    sbx.files().write(SECRET, vec![7; 1000]).await?;
    assert_eq!(sbx.files().read(SECRET).await?.len(), 1000);
    assert!(sbx.files().read("nothing").await.is_err());
    sbx.delete().await?;

    let cancelled = tokio::time::timeout(Duration::ZERO, client.sandbox().create()).await;
    assert!(cancelled.is_err(), "a creation takes longer than that");
    Ok(())
}

fn check(snapshotter: &Snapshotter) {
    // A snapshot empties the histograms, so there is only one.
    let snapshot = snapshotter.snapshot().into_vec();
    let mut recorded = Vec::new();
    for (key, unit, description, value) in snapshot {
        let (kind, key) = key.into_parts();
        let listed = METRICS.iter().find(|metric| metric.name == key.name());
        let listed = listed.unwrap_or_else(|| panic!("{} is not in METRICS", key.name()));
        let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
        assert_eq!(labels, listed.labels, "{}", listed.name);
        assert!(
            unit.is_some() && description.is_some_and(|text| *text == *listed.help),
            "{}",
            listed.name
        );
        assert_eq!(kind, recorded_kind(listed.kind), "{}", listed.name);
        let values: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
        assert!(
            values.iter().all(|value| !value.contains(SECRET)),
            "{values:?}"
        );
        recorded.push((format!("{} {}", listed.name, values.join(" ")), value));
    }
    let count = |name: &str| match recorded.iter().find(|(found, _)| found.trim_end() == name) {
        Some((_, DebugValue::Counter(count))) => *count as f64,
        Some((_, DebugValue::Gauge(value))) => value.into_inner(),
        Some((_, DebugValue::Histogram(values))) => values.len() as f64,
        None => panic!("{name} was not recorded; these were: {recorded:#?}"),
    };
    for name in ["sandbox_creates_total", "sandbox_create_duration_seconds"] {
        for (outcome, times) in [("ok", 1.0), ("unsupported", 1.0), ("cancelled", 1.0)] {
            assert_eq!(
                count(&format!("{name} local {outcome}")),
                times,
                "{name} {outcome}"
            );
        }
    }
    assert_eq!(count("sandbox_deletes_total local ok"), 1.0);
    for (labels, times) in [
        ("output ok", 2.0),
        ("output exit", 2.0),
        ("output timeout", 1.0),
        ("stream ok", 1.0),
        ("job ok", 1.0),
    ] {
        assert_eq!(
            count(&format!("sandbox_commands_total {labels}")),
            times,
            "{labels}"
        );
        assert_eq!(
            count(&format!("sandbox_command_duration_seconds {labels}")),
            times,
            "{labels}"
        );
    }
    assert_eq!(count("sandbox_transfers_total upload ok"), 1.0);
    assert_eq!(count("sandbox_transfer_bytes_total upload"), 1000.0);
    assert_eq!(count("sandbox_transfer_bytes_total download"), 1000.0);
    assert_eq!(count("sandbox_transfers_total download ok"), 1.0);
    assert_eq!(count("sandbox_transfers_total download transfer"), 1.0);

    let opened = count("sandbox_ssh_connections_opened_total");
    assert!(
        opened >= 2.0,
        "commands and files have connections of their own"
    );
    assert_eq!(count("sandbox_ssh_connections_closed_total"), opened);
    assert_eq!(count("sandbox_ssh_connections"), 0.0, "all are closed");
    assert_eq!(count("sandbox_ssh_channels_in_use"), 0.0, "none is in use");
    assert!(
        count("sandbox_ssh_channel_wait_seconds ok") >= 8.0,
        "each command had a channel"
    );
    assert!(count("sandbox_ssh_dials_total commands ok") >= 1.0);
    assert!(count("sandbox_ssh_dial_duration_seconds files ok") >= 1.0);
}

fn recorded_kind(kind: MetricKind) -> RecordedKind {
    match kind {
        MetricKind::Counter => RecordedKind::Counter,
        MetricKind::Gauge => RecordedKind::Gauge,
        MetricKind::Histogram => RecordedKind::Histogram,
        other => panic!("{other:?} is unknown here"),
    }
}
