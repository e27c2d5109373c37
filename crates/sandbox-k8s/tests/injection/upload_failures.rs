//! Uploads of sandbox-sshd that fail for good.

use std::time::Duration;

use futures_util::StreamExt;
use sandbox_core::{CreationReason, SandboxBackend};
use sandbox_testkit::apiserver::{ApiServer, Fault};

use crate::spec;
use crate::upload::{create_running, failure_of, uploading};

#[tokio::test]
async fn each_failure_in_the_container_has_its_error() {
    for (answer, stderr, exit, expected, reason) in [
        (
            "missing head mv",
            "",
            1,
            "lacks the programs head mv",
            CreationReason::Crashed,
        ),
        (
            "unwritable",
            "sh: can't create /.sandbox/.x: Read-only file system\n",
            1,
            "cannot be written (sh: can't create /.sandbox/.x: Read-only file system)",
            CreationReason::Crashed,
        ),
        (
            "unusable 126",
            "sh: /.sandbox/.x: Permission denied\n",
            1,
            "noexec, or forbid new programs (exit code 126: sh: /.sandbox/.x: Permission denied)",
            CreationReason::Crashed,
        ),
        (
            "cut 17",
            "",
            1,
            "only 17 bytes",
            CreationReason::Unavailable,
        ),
        (
            "damaged",
            "",
            1,
            "damaged on its way",
            CreationReason::Unavailable,
        ),
        (
            "",
            "sh: env: not found\n",
            127,
            "sh and env",
            CreationReason::Crashed,
        ),
        (
            "surprise",
            "",
            0,
            "does not answer as expected",
            CreationReason::Other,
        ),
        (
            "ready riscv64 sha256sum",
            "",
            0,
            "processor is riscv64",
            CreationReason::Rejected,
        ),
        (
            "done sandbox-upload: done",
            "",
            0,
            "",
            CreationReason::Other,
        ),
    ] {
        let server = ApiServer::new("boxes");
        server.set_program(move |mut exec| async move {
            exec.write_error(stderr.as_bytes()).await;
            if !answer.is_empty() {
                exec.write(format!("noise\nsandbox-upload: {answer}\n").as_bytes())
                    .await;
            }
            exec.exit(exit).await;
        });
        let backend = uploading(&server);
        let id = create_running(&server, &backend).await;
        if expected.is_empty() {
            // An earlier attempt has succeeded.
            server.wait_for_requests("get pods/exec", 1).await;
            assert_eq!(backend.diagnose(&id).await.unwrap().reason, None);
            continue;
        }
        let failure = failure_of(&backend, &id).await;
        assert!(failure.summary.contains(expected), "{answer}: {failure:?}");
        assert_eq!(failure.reason, Some(reason), "{answer}");
    }
}

#[tokio::test]
async fn a_runtime_that_finds_no_shell_is_not_asked_again() {
    let server = ApiServer::new("boxes");
    server.set_program(|exec| async move {
        exec.refuse(
            "OCI runtime exec failed: exec: \"sh\": executable file not found in $PATH: unknown",
        )
        .await;
    });
    let backend = uploading(&server);
    let id = create_running(&server, &backend).await;
    let failure = failure_of(&backend, &id).await;
    assert!(failure.summary.contains("no shell"), "{failure:?}");
    assert_eq!(server.count_requests("get pods/exec"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_missing_permission_is_named_once_no_restart_explains_it() {
    let server = ApiServer::new("boxes");
    server.inject_always("get pods/exec", Fault::Forbidden);
    let backend = uploading(&server);
    let id = create_running(&server, &backend).await;
    let failure = failure_of(&backend, &id).await;
    for part in ["get and create pods/exec", "boxes"] {
        assert!(failure.summary.contains(part), "{failure:?}");
    }
    assert_eq!(failure.reason, Some(CreationReason::Rejected));
    assert_eq!(server.count_requests("get pods/exec"), 1);
}

#[tokio::test(start_paused = true)]
async fn a_container_that_ends_meanwhile_ends_the_upload() {
    let server = ApiServer::new("boxes");
    let backend = uploading(&server);
    server.set_program(|mut exec| async move {
        exec.write(b"sandbox-upload: ready x86_64 sha256sum\n")
            .await;
        while exec.read_line().await.is_some() {}
        std::future::pending::<()>().await;
    });
    let id = create_running(&server, &backend).await;
    server.wait_for_requests("get pods/exec", 1).await;
    server.end_pod(id.as_str(), 137, "OOMKilled");
    let mut events = backend.events(&id).await.unwrap();
    let mut last = None;
    while let Some(event) = events.next().await {
        last = Some(event.unwrap());
    }
    let last = last.unwrap();
    assert!(
        last.kind.is_final() && last.message.contains("memory"),
        "{last:?}"
    );
    tokio::time::sleep(Duration::from_secs(600)).await;
    assert_eq!(server.count_requests("get pods/exec"), 1);
}

#[tokio::test(start_paused = true)]
async fn an_upload_that_never_gets_an_answer_ends_with_the_creation() {
    let server = ApiServer::new("boxes");
    let backend = uploading(&server);
    server.set_program(|_exec| std::future::pending());
    let (id, mut spec) = spec();
    spec.lifetime.first_login_timeout = Some(Duration::from_secs(60));
    backend.create(spec).await.unwrap();
    server.run_pod(id.as_str());
    let failure = failure_of(&backend, &id).await;
    assert!(
        matches!(
            failure.reason,
            Some(CreationReason::Timeout | CreationReason::Unavailable)
        ),
        "{failure:?}"
    );
}
