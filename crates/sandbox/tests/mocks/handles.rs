//! Using and deleting a sandbox through its handle, by id and in a scope.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::stream;
use sandbox::prelude::*;
use sandbox::{
    CommandCause, ConnectionStage, Defaults, Diagnosis, EndCause, Program, SandboxEventKind,
};
use sandbox_core::{MockSession, MockSessionSource, Process};

use crate::support::{backend, base_backend, client, echo, event, sessions};

#[tokio::test]
async fn a_sandbox_is_created_used_and_deleted() {
    let mut session = MockSession::new();
    session.expect_output().returning(|request, cap| {
        let Program::Argv(argv) = request.program else {
            panic!("not an argv")
        };
        assert_eq!(argv, [b"echo".to_vec(), b"it's".to_vec()]);
        assert_eq!(
            request.env.iter().collect::<Vec<_>>(),
            [("MODE", "ci"), ("TOKEN", "secret")]
        );
        assert_eq!(cap, 10);
        Ok(Output::new(ExitStatus::Code(0), "it's\n", ""))
    });
    session.expect_exec().returning(|request| Ok(echo(request)));
    session.expect_create_dir().returning(|_, _| Ok(()));
    session
        .expect_upload()
        .withf(|request, _| request.path == ".sandbox/environment" && request.mode == Some(0o600))
        .times(1)
        .returning(|_, _| Ok(0));
    let client = client(
        backend(1, vec![event(SandboxEventKind::Started, "")]),
        sessions(session),
    );

    let sbx = client
        .sandbox()
        .env("MODE", "ci")
        .secret_env("TOKEN", "secret")
        .create()
        .await
        .unwrap();
    let out = sbx
        .command("echo")
        .arg("it's")
        .output_cap(10)
        .output()
        .await
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(out.stdout, "it's\n");
    let out = sbx
        .shell("cat")
        .stdin("there and back")
        .output()
        .await
        .unwrap();
    assert_eq!(out.stdout, "there and back");
    // The handle is cached, so the backend is not asked.
    assert_eq!(client.connect(sbx.id()).await.unwrap().uid(), sbx.uid());
    sbx.delete().await.unwrap();
}

#[tokio::test]
async fn a_sandbox_that_another_client_has_deleted_is_not_found() {
    let mut session = MockSession::new();
    session.expect_list().returning(|_| {
        let error = Error::connection(ConnectionStage::Dial, "there is no socket", None);
        Err(error)
    });
    let mut backend = backend(0, vec![]);
    // The backend remembers what it created.
    backend.expect_diagnose().returning(|_| {
        let mut diagnosis = Diagnosis::default();
        diagnosis.is_final = true;
        diagnosis.summary = "it was deleted".into();
        diagnosis.end = Some(EndCause::Deleted);
        Ok(diagnosis)
    });
    let sbx = client(backend, sessions(session))
        .sandbox()
        .create()
        .await
        .unwrap();
    let error = sbx.files().list(".").await.unwrap_err();
    assert!(
        matches!(&error, Error::NotFound { id } if id == sbx.id()),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_lost_connection_has_the_diagnosis_of_the_backend() {
    let mut session = MockSession::new();
    session.expect_output().returning(|_, _| {
        Err(Error::Command {
            cause: CommandCause::Lost,
            source: None,
        })
    });
    session.expect_exec().returning(|_| {
        let (process, driver) = Process::channel(false);
        driver
            .events
            .try_send(Err(Error::Command {
                cause: CommandCause::Lost,
                source: None,
            }))
            .unwrap();
        Ok(process)
    });
    session.expect_list().returning(|_| {
        Err(Error::connection(
            ConnectionStage::Channel,
            "it was reset",
            None,
        ))
    });
    let mut backend = backend(0, vec![]);
    backend.expect_diagnose().returning(|_| {
        let mut diagnosis = Diagnosis::default();
        diagnosis.summary = "it ran out of memory".into();
        Ok(diagnosis)
    });
    let sbx = client(backend, sessions(session))
        .sandbox()
        .id("sbx-x")
        .create()
        .await
        .unwrap();
    let error = sbx.shell("hog").output().await.unwrap_err();
    assert!(matches!(
        error,
        Error::Command {
            cause: CommandCause::Lost,
            ..
        }
    ));
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "it ran out of memory"
    );
    // In a stream, the error itself has the diagnosis.
    let error = sbx
        .shell("hog")
        .spawn()
        .await
        .unwrap()
        .wait()
        .await
        .unwrap_err();
    assert!(matches!(
        error,
        Error::Command {
            cause: CommandCause::Lost,
            ..
        }
    ));
    assert_eq!(
        std::error::Error::source(&error).unwrap().to_string(),
        "it ran out of memory"
    );
    let error = sbx.files().list(".").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "the connection to sandbox sbx-x failed: it was reset (it ran out of memory)"
    );
    let direct = sbx.session().list(&".".into()).await.unwrap_err();
    assert_eq!(direct.to_string(), error.to_string());
}

#[tokio::test(start_paused = true)]
async fn a_refused_port_is_reported_at_once() {
    let mut session = MockSession::new();
    session.expect_open_stream().returning(|_, _| {
        Err(Error::refused_channel(
            "nothing answers at localhost:1 inside it",
        ))
    });
    let mut backend = base_backend();
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::pending())));
    backend
        .expect_diagnose()
        .returning(|_| Ok(Diagnosis::default()));
    let sbx = client(backend, sessions(session))
        .sandbox()
        .id("sbx-x")
        .create()
        .await
        .unwrap();
    let begun = tokio::time::Instant::now();
    let error = sbx.open_port(1).await.err().unwrap();
    assert_eq!(begun.elapsed(), Duration::ZERO, "no end is waited for");
    assert_eq!(
        error.to_string(),
        "the connection to sandbox sbx-x failed: nothing answers at localhost:1 inside it"
    );
}

#[tokio::test]
async fn scoped_deletes_after_success_and_after_failure() {
    let client = client(backend(2, vec![]), sessions(MockSession::new()));
    let seven = client
        .scoped(client.sandbox(), |_| async { Ok(7) })
        .await
        .unwrap();
    assert_eq!(seven, 7);
    let failed = client
        .scoped(client.sandbox(), |_| async {
            Err::<(), _>(Error::invalid("work", "x", "y"))
        })
        .await;
    assert!(matches!(failed, Err(Error::Invalid { .. })));
}

#[tokio::test]
async fn scoped_deletes_after_a_panic_and_when_dropped() {
    let deleted = Arc::new(tokio::sync::Semaphore::new(0));
    let mut backend = base_backend();
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::iter([]))));
    let permits = Arc::clone(&deleted);
    backend.expect_delete().times(3).returning(move |_, _| {
        permits.add_permits(1);
        Ok(())
    });
    let client = client(backend, sessions(MockSession::new()));
    for how in ["a panic of the closure", "a panic of the work", "dropped"] {
        let client = client.clone();
        let work_started = Arc::new(tokio::sync::Notify::new());
        let started = Arc::clone(&work_started);
        let scoped = tokio::spawn(async move {
            client
                .scoped(client.sandbox(), |_| {
                    assert_ne!(how, "a panic of the closure");
                    async move {
                        assert_ne!(how, "a panic of the work");
                        started.notify_one();
                        std::future::pending::<Result<()>>().await
                    }
                })
                .await
        });
        if how == "dropped" {
            work_started.notified().await;
            scoped.abort();
        }
        assert_eq!(
            scoped.await.unwrap_err().is_panic(),
            how != "dropped",
            "{how}"
        );
        let deletion = tokio::time::timeout(Duration::from_secs(10), deleted.acquire()).await;
        deletion
            .unwrap_or_else(|_| panic!("{how}: the sandbox was not deleted"))
            .unwrap()
            .forget();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sandbox_is_not_kept_attached_during_its_deletion() {
    let connected = Arc::new(AtomicUsize::new(0));
    let mut sessions = MockSessionSource::new();
    let session = Arc::new(MockSession::new());
    let count = Arc::clone(&connected);
    sessions.expect_session().returning(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(session.clone())
    });
    sessions.expect_evict().returning(|_| ());
    let mut backend = base_backend();
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::pending())));
    let (started, deletion) = std::sync::mpsc::channel();
    let count = Arc::clone(&connected);
    backend.expect_delete().times(1).returning(move |_, _| {
        started.send(count.load(Ordering::Relaxed)).unwrap();
        // Twice the interval at which an attached sandbox is kept alive.
        std::thread::sleep(Duration::from_millis(700));
        Ok(())
    });
    let mut defaults = Defaults::default();
    defaults.lifetime.attach_timeout = Some(Duration::from_secs(1));
    let client = Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults);
    let sbx = client.sandbox().create().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    sbx.delete().await.unwrap();
    let before = deletion.recv().unwrap();
    assert!(before > 1, "it was kept attached before");
    assert_eq!(connected.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn the_methods_by_id_use_one_handle() {
    let mut session = MockSession::new();
    session.expect_output().returning(|request, _| {
        assert!(matches!(request.program, Program::Shell(line) if line == b"echo hi | tr a-z A-Z"));
        Ok(Output::new(ExitStatus::Code(0), "HI\n", ""))
    });
    let client = client(backend(1, vec![]), sessions(session));
    let id = client.create_sandbox(client.sandbox()).await.unwrap();
    assert_eq!(
        client
            .execute_command(&id, "echo hi | tr a-z A-Z")
            .await
            .unwrap()
            .stdout,
        "HI\n"
    );
    assert_eq!(client.get_sandbox_info(&id).await.unwrap().port, Some(22));
    client.shutdown_sandbox(&id).await.unwrap();
}
