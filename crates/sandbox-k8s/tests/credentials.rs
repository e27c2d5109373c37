//! A credential program of a kubeconfig that stops working. The test has its own process because
//! tracing decides once for all threads whether a call site is enabled.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fmt::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandbox_core::{
    Connector, Deadline, Endpoint, Error, Freshness, SandboxBackend, SandboxId, Uid,
};
use sandbox_k8s::options::KubernetesOptions;
use sandbox_k8s::{ClusterOptions, KubernetesBackend, connect_cluster};
use tracing::field::{Field, Visit};

/// A kubeconfig whose credential program records that it ran, then runs `program`.
fn kubeconfig(directory: &Path, program: &str) -> ClusterOptions {
    let (script, config) = (directory.join("program"), directory.join("config"));
    let ran = directory.join("ran");
    std::fs::write(&script, format!("echo x >> {}\n{program}\n", ran.display())).unwrap();
    let text = format!(
        "\
apiVersion: v1
kind: Config
current-context: a
clusters: [{{name: c, cluster: {{server: 'https://127.0.0.1:1'}}}}]
contexts: [{{name: a, context: {{cluster: c, user: u}}}}]
users:
- name: u
  user:
    exec:
      apiVersion: client.authentication.k8s.io/v1
      command: sh
      args: [{}, secret-argument]
      interactiveMode: Never
",
        script.display()
    );
    std::fs::write(&config, text).unwrap();
    let mut options = ClusterOptions::default();
    options.kubeconfig = Some(config);
    options
}

fn count_runs(directory: &Path) -> usize {
    std::fs::read_to_string(directory.join("ran"))
        .unwrap()
        .lines()
        .count()
}

/// Prints an expired token, so that each request needs a new one.
const EXPIRED: &str = r#"echo '{"apiVersion": "client.authentication.k8s.io/v1", "kind": "ExecCredential",
  "status": {"token": "secret-token", "expirationTimestamp": "2020-01-01T00:00:00Z"}}'"#;

#[tokio::test]
async fn a_failed_renewal_of_credentials_fails_each_call_at_once_and_leaks_no_secret() {
    let log = CapturedLog::default();
    let _guard = tracing::subscriber::set_default(log.clone());
    let directory = tempfile::tempdir().unwrap();
    let fails = "test $(wc -l < $(dirname $0)/ran) = 1 || { echo secret-out; echo secret-err >&2; exit 3; }";
    let wanted = kubeconfig(directory.path(), &format!("{fails}\n{EXPIRED}"));
    let client = connect_cluster(&wanted).await.unwrap();
    assert_eq!(
        count_runs(directory.path()),
        1,
        "creating a client runs the program once"
    );
    let backend = KubernetesBackend::new(client, KubernetesOptions::default());
    let id = SandboxId::generate().unwrap();
    let begun = Instant::now();
    let through = Endpoint::Pod {
        namespace: backend.namespace().to_owned(),
        name: id.to_string(),
        uid: Uid::new("u"),
        port: 22,
    };
    let errors = [
        backend.get(&id, Freshness::Latest).await.unwrap_err(),
        backend.list(Default::default()).await.unwrap_err(),
        backend.events(&id).await.err().unwrap(),
        backend
            .connector()
            .connect(&through, Deadline::from_now(Duration::from_secs(30)))
            .await
            .err()
            .unwrap(),
    ];
    assert!(
        begun.elapsed() < Duration::from_secs(8),
        "{:?}",
        begun.elapsed()
    );
    for error in errors {
        assert!(matches!(&error, Error::Config { .. }), "{error:?}");
        assert!(
            !error.is_retryable() && error.to_string().contains("failed with exit status: 3"),
            "{error}"
        );
        assert!(!format!("{error:?}").contains("secret-"), "{error:?}");
    }
    // The watch fails as well, and logs it.
    let warned = async {
        while !log.0.lock().unwrap().contains("watch unavailable") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), warned)
        .await
        .unwrap();
    let log = log.0.lock().unwrap().clone();
    assert!(log.contains("failed with exit status: 3"), "{log}");
    assert!(!log.contains("secret-"), "{log}");
}

/// The spans and events of this thread, with the value of each field.
#[derive(Clone, Default)]
struct CapturedLog(Arc<Mutex<String>>);

impl Visit for CapturedLog {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        writeln!(self.0.lock().unwrap(), "{field}={value:?}").unwrap();
    }
}

impl tracing::Subscriber for CapturedLog {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        span.record(&mut self.clone());
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        values.record(&mut self.clone());
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        event.record(&mut self.clone());
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}
