//! The upload of sandbox-sshd into a Pod that waits for it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{
    Connector, Deadline, Diagnosis, Error, SandboxBackend, SandboxEventKind, SandboxId,
};
use sandbox_k8s::KubernetesBackend;
use sandbox_k8s::options::{Architecture, InjectVia, Injection, ServerPrograms};
use sandbox_testkit::apiserver::{ApiServer, Exec, Fault};
use sha2::{Digest, Sha256};

use crate::{backend, spec};

/// Larger than what is on its way at any time.
const SIZE: usize = 1 << 20;

/// A program for an architecture, as far as its header shows.
fn program(architecture: Architecture) -> Vec<u8> {
    let mut program = b"\x7fELF\x02\x01\x01".to_vec();
    program.resize(SIZE, 7);
    program[18] = match architecture {
        Architecture::Arm64 => 183,
        _ => 62,
    };
    program[19] = 0;
    program
}

fn programs() -> ServerPrograms {
    Architecture::ALL
        .into_iter()
        .fold(ServerPrograms::default(), |programs, architecture| {
            programs.with_loader(architecture, move || Ok(program(architecture)))
        })
}

pub(crate) fn uploading(server: &ApiServer) -> KubernetesBackend {
    backend(server, |options| {
        options.server_image = None;
        options.server_programs = programs();
        options.injection = Injection::Inject(InjectVia::Upload);
        options.startup_grace = Duration::from_secs(10);
    })
}

/// Creates a sandbox whose Pod runs.
pub(crate) async fn create_running(server: &ApiServer, backend: &KubernetesBackend) -> SandboxId {
    let (id, spec) = spec();
    backend.create(spec).await.unwrap();
    server.run_pod(id.as_str());
    id
}

/// Waits for the error of a failed upload, which the events and the diagnosis report, and a connection does not wait for.
pub(crate) async fn failure_of(backend: &KubernetesBackend, id: &SandboxId) -> Diagnosis {
    let mut events = backend.events(id).await.unwrap();
    let message = async {
        while let Some(event) = events.next().await {
            let event = event.unwrap();
            if event.kind == SandboxEventKind::Failed {
                return event.message;
            }
        }
        panic!("the upload did not fail");
    };
    let message = tokio::time::timeout(Duration::from_secs(3600), message)
        .await
        .unwrap();
    let diagnosis = backend.diagnose(id).await.unwrap();
    assert_eq!(diagnosis.summary, message);
    assert_eq!(message.lines().count(), 1, "{message}");
    for other in ["SANDBOX_SERVER_IMAGE", "init-container", "baked"] {
        assert!(message.contains(other), "{other}: {message}");
    }
    let access = backend.access(id).await.unwrap();
    let deadline = Deadline::from_now(Duration::from_secs(30));
    let error = backend
        .connector()
        .connect(&access.endpoint, deadline)
        .await
        .err()
        .unwrap();
    assert!(error.to_string().contains(&message), "{error}");
    diagnosis
}

/// Answers as the script in a container does, and returns what arrived: the header and the content.
async fn receive(exec: &mut Exec, ready: &str) -> Option<(String, Vec<u8>)> {
    exec.write(format!("sandbox-upload: ready {ready}\n").as_bytes())
        .await;
    let header = exec.read_line().await?;
    let size: usize = header.split_once(' ')?.0.parse().ok()?;
    let content = exec.read_exact(size).await?;
    Some((header, content.to_vec()))
}

fn hash(content: &[u8]) -> String {
    Sha256::digest(content)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

#[tokio::test]
async fn the_program_of_the_nodes_architecture_arrives_once() {
    for (machine, architecture) in [
        ("x86_64", Architecture::Amd64),
        ("aarch64", Architecture::Arm64),
    ] {
        let server = ApiServer::new("boxes");
        let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
        server.set_program(move |mut exec| {
            let sender = sender.clone();
            async move {
                let ready = format!("{machine} sha256sum");
                let arrived = receive(&mut exec, &ready).await.unwrap();
                let command = exec.command.clone();
                exec.write(b"sandbox-upload: done\n").await;
                exec.exit(0).await;
                sender.send((arrived, command)).unwrap();
            }
        });
        let backend = uploading(&server);
        let id = create_running(&server, &backend).await;
        let ((header, content), command) = received.recv().await.unwrap();
        assert!(content == program(architecture));
        assert_eq!(header, format!("{SIZE} {}", hash(&content)));
        assert!(
            command.iter().any(|part| part.contains("env -i")),
            "the keys are not in the environment: {command:?}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(server.count_requests("get pods/exec"), 1);
        assert_eq!(backend.diagnose(&id).await.unwrap().reason, None);
    }
}

#[tokio::test]
async fn an_image_without_sha256sum_sends_the_content_back() {
    for damaged in [false, true] {
        let server = ApiServer::new("boxes");
        let verdicts = Arc::new(AtomicU32::new(0));
        let accepted = Arc::clone(&verdicts);
        server.set_program(move |mut exec| {
            let accepted = Arc::clone(&accepted);
            async move {
                let (_, mut content) = receive(&mut exec, "x86_64").await.unwrap();
                if damaged {
                    content[SIZE / 2] ^= 1;
                }
                exec.write(b"sandbox-upload: content\n").await;
                for part in content.chunks(10_000) {
                    exec.write(part).await;
                }
                if exec.read_line().await.as_deref() == Some("accepted") {
                    accepted.fetch_add(1, Ordering::SeqCst);
                    exec.write(b"sandbox-upload: done\n").await;
                } else {
                    exec.write(b"sandbox-upload: damaged\n").await;
                }
                exec.exit(0).await;
            }
        });
        let backend = uploading(&server);
        let id = create_running(&server, &backend).await;
        if damaged {
            let failure = failure_of(&backend, &id).await;
            assert!(failure.summary.contains("damaged"), "{failure:?}");
            assert_eq!(verdicts.load(Ordering::SeqCst), 0);
        } else {
            while verdicts.load(Ordering::SeqCst) == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

#[tokio::test]
async fn an_attempt_is_made_again_after_a_lost_connection() {
    let server = ApiServer::new("boxes");
    let (attempts, done) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let (counted, finished) = (Arc::clone(&attempts), Arc::clone(&done));
    server.set_program(move |mut exec| {
        let attempt = counted.fetch_add(1, Ordering::SeqCst);
        let finished = Arc::clone(&finished);
        async move {
            // The connection is lost at once, within the content, and before the answer.
            exec.write(b"sandbox-upload: ready x86_64 sha256sum\n")
                .await;
            let _header = exec.read_line().await.unwrap();
            let size = [10, SIZE / 2, SIZE][attempt.min(2) as usize];
            exec.read_exact(size).await.unwrap();
            if attempt == 3 {
                exec.write(b"sandbox-upload: done\n").await;
                exec.exit(0).await;
                finished.fetch_add(1, Ordering::SeqCst);
            }
        }
    });
    // Before that, the API server does not respond, and the container does not run.
    server.inject_times("get pods/exec", 2, Fault::CutBefore);
    server.inject("get pods/exec", Fault::unavailable());
    let backend = uploading(&server);
    let id = create_running(&server, &backend).await;
    while done.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(attempts.load(Ordering::SeqCst), 4);
    assert_eq!(server.count_requests("get pods/exec"), 7);
    assert_eq!(backend.diagnose(&id).await.unwrap().reason, None);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_waits_for_its_image_is_not_tried_again_and_again() {
    let server = ApiServer::new("boxes");
    let backend = uploading(&server);
    let (id, spec) = spec();
    backend.create(spec).await.unwrap();
    server.update("pods", id.as_str(), |pod| {
        pod["spec"]["nodeName"] = "node-1".into();
        pod["status"] = serde_json::json!({"phase": "Pending", "conditions": [{
            "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}]});
    });
    tokio::time::sleep(Duration::from_secs(120)).await;
    let early = server.count_requests("get pods/exec");
    assert!((1..=10).contains(&early), "{early}");
    let done = Arc::new(AtomicU32::new(0));
    let finished = Arc::clone(&done);
    server.set_program(move |mut exec| {
        let finished = Arc::clone(&finished);
        async move {
            receive(&mut exec, "x86_64 sha256sum").await.unwrap();
            exec.write(b"sandbox-upload: done\n").await;
            exec.exit(0).await;
            finished.fetch_add(1, Ordering::SeqCst);
        }
    });
    server.run_pod(id.as_str());
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(done.load(Ordering::SeqCst), 1, "it runs now");
    assert_eq!(server.count_requests("get pods/exec"), early + 1);
}

#[tokio::test(start_paused = true)]
async fn many_pods_that_start_at_once_are_not_all_tried_early() {
    let server = ApiServer::new("boxes");
    let done = Arc::new(AtomicU32::new(0));
    let finished = Arc::clone(&done);
    server.set_program(move |mut exec| {
        let finished = Arc::clone(&finished);
        async move {
            receive(&mut exec, "x86_64 sha256sum").await.unwrap();
            exec.write(b"sandbox-upload: done\n").await;
            exec.exit(0).await;
            finished.fetch_add(1, Ordering::SeqCst);
        }
    });
    let backend = uploading(&server);
    let mut ids = Vec::new();
    for _ in 0..20 {
        let (id, spec) = spec();
        backend.create(spec).await.unwrap();
        ids.push(id);
    }
    for id in &ids {
        server.update("pods", id.as_str(), |pod| {
            pod["spec"]["nodeName"] = "node-1".into();
            pod["status"] = serde_json::json!({"phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "True", "lastTransitionTime": "2026-01-01T00:00:01Z"}]});
        });
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(server.count_requests("get pods/exec"), 0);
    for id in &ids {
        server.run_pod(id.as_str());
    }
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(done.load(Ordering::SeqCst), 20);
    assert_eq!(server.count_requests("get pods/exec"), 20);
}

#[tokio::test]
async fn without_a_program_nothing_is_created() {
    for (via, expected) in [
        (InjectVia::Upload, "no SSH server to upload"),
        (InjectVia::Auto, "no SSH server for the Pod"),
    ] {
        let server = ApiServer::new("boxes");
        let backend = backend(&server, |options| {
            options.server_image = None;
            options.injection = Injection::Inject(via);
        });
        match backend.create(spec().1).await {
            Err(Error::Config { message }) => {
                assert!(message.contains(expected), "{message}");
                assert!(message.contains("SANDBOX_SERVER_PATH"), "{message}");
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(server.count_writes(), 0);
    }
}

#[tokio::test]
async fn auto_uploads_without_an_image_of_the_server() {
    for (image, uploads) in [(None, true), (Some("localhost/sandbox-sshd:1"), false)] {
        let server = ApiServer::new("boxes");
        let backend = backend(&server, |options| {
            options.server_image = image.map(str::to_owned);
            options.server_programs = programs();
        });
        let (id, spec) = spec();
        backend.create(spec).await.unwrap();
        let pod = server.object("pods", id.as_str()).unwrap();
        let command = pod["spec"]["containers"][0]["command"][0].as_str();
        assert_eq!(command == Some("sh"), uploads, "{pod}");
    }
}
