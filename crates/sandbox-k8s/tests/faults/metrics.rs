//! The metrics of requests and watches.

use std::collections::BTreeMap;

use metrics_util::debugging::{DebugValue, DebuggingRecorder, Snapshotter};
use sandbox_core::{DeleteOptions, SandboxBackend, SandboxEventKind};
use sandbox_testkit::apiserver::Fault;

use crate::support::{backend, observe_steps_until, server, spec, start_watch};

/// The counters by name and label values, and the number of values of each histogram.
fn count_recorded(snapshotter: &Snapshotter) -> BTreeMap<String, u64> {
    let of = |(key, _, _, value): (metrics_util::CompositeKey, _, _, DebugValue)| {
        let values: Vec<_> = key
            .key()
            .labels()
            .map(|label| label.value().to_owned())
            .collect();
        let count = match value {
            DebugValue::Counter(count) => count,
            DebugValue::Histogram(values) => values.len() as u64,
            DebugValue::Gauge(_) => 0,
        };
        (format!("{} {}", key.key().name(), values.join(" ")), count)
    };
    snapshotter
        .snapshot()
        .into_vec()
        .into_iter()
        .map(of)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn each_attempt_counts_with_its_status_and_without_names() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    // The recorder is local to this thread, the only one of the test.
    let _installed = ::metrics::set_default_local_recorder(&recorder);
    let server = server();
    server.inject("create pods", Fault::too_many_requests(1));
    server.inject("create secrets", Fault::CutBefore);
    let backend = backend(&server);
    let (id, spec) = spec();
    backend.create(spec).await.unwrap();
    server.run_pod(id.as_str());
    observe_steps_until(&backend, &id, SandboxEventKind::Addressed).await;
    server.inject("delete pods", Fault::CutAfter);
    backend.delete(&id, DeleteOptions::default()).await.unwrap();

    let recorded = count_recorded(&snapshotter);
    for (labels, times) in [
        ("create pods 429", 1),
        ("create pods 201", 1),
        ("create secrets none", 1),
        ("create secrets 201", 1),
        ("delete secrets 200", 1),
        ("delete pods none", 1),
        ("list pods 200", 1),
        ("watch pods 200", 1),
    ] {
        let name = format!("sandbox_k8s_requests_total {labels}");
        assert_eq!(recorded.get(&name), Some(&times), "{name}: {recorded:#?}");
        let name = format!("sandbox_k8s_request_duration_seconds {labels}");
        assert_eq!(recorded.get(&name), Some(&times), "{name}: {recorded:#?}");
    }
    assert!(
        recorded
            .keys()
            .all(|key| !key.contains(id.as_str()) && !key.contains("boxes")),
        "{recorded:#?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_watch_restart_counts_with_its_reason() {
    let recorder = DebuggingRecorder::new();
    let snapshotter = recorder.snapshotter();
    let _installed = ::metrics::set_default_local_recorder(&recorder);
    let server = server();
    server.inject("watch pods", Fault::expired());
    server.inject("watch pods", Fault::unavailable());
    server.inject("watch pods", Fault::EndAfter(0));
    let backend = backend(&server);
    start_watch(&server, &backend).await;
    server.wait_for_requests("watch pods", 4).await;

    let recorded = count_recorded(&snapshotter);
    for reason in ["expired", "refused", "over"] {
        let name = format!("sandbox_k8s_watch_restarts_total {reason}");
        assert_eq!(recorded.get(&name), Some(&1), "{name}: {recorded:#?}");
    }
}
