//! The listener for Prometheus.

use std::net::SocketAddr;
use std::time::Duration;

use http::Method;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cases;
use crate::support::World;

cases![
    metrics_have_the_form_of_prometheus_and_no_secrets,
    idle_connections_do_not_keep_prometheus_out,
];

const SETTINGS: &str = "metrics-listen: 127.0.0.1:0\nlimits: {header-timeout: 300ms}";

/// Sends a request to the listener, and returns the head and the body of the response.
async fn ask(address: SocketAddr, request: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("{request} HTTP/1.1\r\nhost: x\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.to_ascii_lowercase(), body.to_owned())
}

/// The value of a sample.
fn value(metrics: &str, sample: &str) -> f64 {
    let line = metrics
        .lines()
        .find_map(|line| line.strip_prefix(sample))
        .unwrap_or_else(|| panic!("no {sample} in {metrics}"));
    line.trim().parse().unwrap()
}

async fn metrics_have_the_form_of_prometheus_and_no_secrets() {
    let world = World::start_with(SETTINGS).await;
    let address = world.metrics.unwrap();
    const LISTS: &str = r#"sandbox_gateway_requests_total{kind="api",status="2xx"}"#;
    const REFUSALS: &str = r#"sandbox_gateway_requests_total{kind="api",status="4xx"}"#;
    let id = world.create(json!({})).await;
    world
        .send_as("e2b_no", Method::GET, "/v2/sandboxes", None)
        .await
        .error(401);
    let (head, before) = ask(address, "GET /metrics").await;
    assert!(head.starts_with("http/1.1 200"), "{head}");
    assert!(
        head.contains("content-type: text/plain; version=0.0.4"),
        "{head}"
    );
    for _ in 0..3 {
        world.send(Method::GET, "/v2/sandboxes", None).await;
    }
    let (_, after) = ask(address, "GET /metrics").await;
    // Other tests of this program may count, too.
    assert!(
        value(&after, LISTS) >= value(&before, LISTS) + 3.0,
        "{after}"
    );
    assert!(value(&before, REFUSALS) >= 1.0);
    assert!(value(&after, "sandbox_gateway_connections ") >= 0.0);
    let count = r#"sandbox_gateway_request_duration_seconds_count{kind="api"}"#;
    let bucket = r#"sandbox_gateway_request_duration_seconds_bucket{kind="api",le="+Inf"}"#;
    assert_eq!(value(&after, count), value(&after, bucket));
    // Those of the SDK are there, too.
    assert!(
        after.contains("\n# TYPE sandbox_ssh_dial_duration_seconds"),
        "{after}"
    );

    // https://prometheus.io/docs/instrumenting/exposition_formats/
    let mut declared = std::collections::BTreeSet::new();
    for line in after.lines() {
        if let Some(declaration) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declaration.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert!(declared.insert(name), "{name} is declared twice");
        } else if !line.starts_with("# HELP ") {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            assert!(value.parse::<f64>().is_ok(), "{line}");
            let name = sample.split('{').next().unwrap();
            let family = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|end| name.strip_suffix(end))
                .filter(|family| declared.contains(family));
            assert!(declared.contains(name) || family.is_some(), "{line}");
        }
    }
    for secret in [&id, &world.key] {
        assert!(!after.contains(secret.as_str()), "{after}");
    }

    let (head, body) = ask(address, "HEAD /metrics").await;
    assert!(
        head.starts_with("http/1.1 200") && body.is_empty(),
        "{head}"
    );
    for request in [
        "GET /",
        "POST /metrics",
        "GET /v2/sandboxes",
        "GET /metrics/",
    ] {
        let (head, _) = ask(address, request).await;
        assert!(head.starts_with("http/1.1 404"), "{request}: {head}");
    }
    // At the address of the API, they are those of a sandbox.
    world.send(Method::GET, "/metrics", None).await.error(401);
    world.clean_up().await;
}

async fn idle_connections_do_not_keep_prometheus_out() {
    let world = World::start_with(SETTINGS).await;
    let address = world.metrics.unwrap();
    let mut idle = Vec::new();
    for _ in 0..40 {
        idle.push(TcpStream::connect(address).await.unwrap());
    }
    let asking = ask(address, "GET /metrics");
    let (head, _) = tokio::time::timeout(Duration::from_secs(10), asking)
        .await
        .expect("room for Prometheus");
    assert!(head.starts_with("http/1.1 200"), "{head}");
}
