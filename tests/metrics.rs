//! What the SDK tells a recorder, on this machine.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a failed assertion is the point"
)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use metrics_util::MetricKind as Kind;
use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sandbox::metrics::{METRICS, MetricKind};
use sandbox::{Client, Defaults, ExecEvent, Result};

/// libtest's `main` is not ours, so this one begins as every program with local sandboxes does.
fn main() {
    sandbox::local::init();
    let recorder = DebuggingRecorder::new();
    let seen = Seen(recorder.snapshotter());
    recorder.install().expect("the only recorder");
    sandbox::metrics::describe();

    let state = tempfile::tempdir().expect("a directory");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    runtime
        .block_on(work(state.path()))
        .expect("no work fails that is not to fail");
    // Connections say goodbye in tasks of their own; with the runtime those have ended.
    drop(runtime);
    seen.check();
    println!("what was done is what was measured");
}

/// Something of everything, ended in every way that can be had at will.
async fn work(state: &Path) -> Result<()> {
    let client = client(state);
    let refused = client.sandbox().image("python:3.12-slim").create().await;
    assert!(refused.is_err(), "there are no images on this machine");

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

    let left = tokio::time::timeout(Duration::ZERO, client.sandbox().create()).await;
    assert!(left.is_err(), "nothing is made in no time");
    Ok(())
}

/// Must be in no label.
const SECRET: &str = "hush-hush";

fn client(state: &Path) -> Client {
    let mut options = sandbox_local::LocalOptions::default();
    options.state_dir = Some(state.to_owned());
    let backend = sandbox_local::LocalBackend::new(options).expect("a backend");
    let connector = Arc::new(sandbox_local::UnixConnector::new());
    let sessions = sandbox_ssh::SshSessions::new(connector, sandbox_ssh::SshOptions::default());
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

struct Seen(Snapshotter);

impl Seen {
    fn check(&self) {
        // Reading empties the histograms: once is all there is.
        let all = self.0.snapshot().into_vec();
        let mut told = Vec::new();
        for (key, unit, description, value) in all {
            let (kind, key) = key.into_parts();
            let known = METRICS.iter().find(|metric| metric.name == key.name());
            let known = known.unwrap_or_else(|| panic!("{} is in no list", key.name()));
            let labels: Vec<_> = key.labels().map(|label| label.key()).collect();
            assert_eq!(labels, known.labels, "{}", known.name);
            assert!(
                unit.is_some() && description.is_some_and(|text| *text == *known.help),
                "{}",
                known.name
            );
            assert_eq!(kind, of(known.kind), "{}", known.name);
            let values: Vec<_> = key.labels().map(|label| label.value().to_owned()).collect();
            assert!(
                values.iter().all(|value| !value.contains(SECRET)),
                "{values:?}"
            );
            told.push((format!("{} {}", known.name, values.join(" ")), value));
        }
        let count = |name: &str| match told.iter().find(|(found, _)| found.trim_end() == name) {
            Some((_, DebugValue::Counter(count))) => *count as f64,
            Some((_, DebugValue::Gauge(value))) => value.into_inner(),
            Some((_, DebugValue::Histogram(values))) => values.len() as f64,
            None => panic!("{name} was not told; these were: {told:#?}"),
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
}

fn of(kind: MetricKind) -> Kind {
    match kind {
        MetricKind::Counter => Kind::Counter,
        MetricKind::Gauge => Kind::Gauge,
        _ => Kind::Histogram,
    }
}
