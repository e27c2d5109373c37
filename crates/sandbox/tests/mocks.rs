//! The whole facade on mocks alone: no backend, no SSH, no socket.

#![allow(clippy::unwrap_used, reason = "a failed assertion is the point")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures_util::stream;
use sandbox::prelude::*;
use sandbox::{
    Access, CommandCause, ConnectionStage, CreationReason, CreationStage, Defaults, DeleteOptions,
    Diagnosis, Endpoint, ExecRequest, Isolation, KeyPair, Program, SandboxEvent, SandboxEventKind,
    SandboxSpec, SandboxState, Uid,
};
use sandbox_core::{MockSandboxBackend, MockSession, MockSessionSource, Process};

const UID: &str = "uid-1";

fn info(id: &SandboxId) -> SandboxInfo {
    SandboxInfo {
        id: id.clone(),
        uid: Uid::new(UID),
        backend: "mock".into(),
        state: SandboxState::Running,
        address: None,
        port: Some(22),
        user: "sandbox".into(),
        home: None,
        image: None,
        labels: Default::default(),
        created_at: SystemTime::now(),
        expires_at: None,
        isolation: Isolation {
            kind: "none".into(),
            applied: vec![],
        },
        limits: vec![],
    }
}

fn access(id: &SandboxId) -> Access {
    let keys = KeyPair::generate().unwrap();
    Access {
        id: id.clone(),
        uid: Uid::new(UID),
        user: "sandbox".into(),
        host_key: keys.public,
        client_key: keys.private,
        endpoint: Endpoint::Memory("mock".into()),
    }
}

fn event(kind: SandboxEventKind, message: &str) -> SandboxEvent {
    SandboxEvent {
        at: SystemTime::now(),
        kind,
        message: message.into(),
    }
}

/// A backend that makes what it is asked for, and expects that many deletions.
fn backend(deletions: usize, events: Vec<SandboxEvent>) -> MockSandboxBackend {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_create()
        .returning(|spec: SandboxSpec| Ok(info(&spec.id.unwrap())));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend.expect_get().returning(|id, _| Ok(info(id)));
    backend
        .expect_events()
        .returning(move |_| Ok(Box::pin(stream::iter(events.clone().into_iter().map(Ok)))));
    backend
        .expect_delete()
        .withf(|_, options: &DeleteOptions| options.uid == Some(Uid::new(UID)))
        .times(deletions)
        .returning(|_, _| Ok(()));
    backend
}

fn sessions(session: MockSession) -> MockSessionSource {
    let session: Arc<dyn sandbox::Session> = Arc::new(session);
    let mut sessions = MockSessionSource::new();
    sessions
        .expect_session()
        .returning(move |_, _| Ok(session.clone()));
    sessions
        .expect_evict()
        .withf(|uid| uid.as_str() == UID)
        .returning(|_| ());
    sessions
}

fn client(backend: MockSandboxBackend, sessions: MockSessionSource) -> Client {
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

/// Plays a command: what it was given comes back, then it exits.
fn play(request: ExecRequest) -> Process {
    let (process, mut driver) = Process::channel(request.stdin);
    tokio::spawn(async move {
        let mut input = Vec::new();
        if let Some(stdin) = &mut driver.stdin {
            tokio::io::AsyncReadExt::read_to_end(stdin, &mut input)
                .await
                .unwrap();
        }
        driver
            .events
            .send(Ok(ExecEvent::Stdout(Bytes::from(input))))
            .await
            .unwrap();
        driver
            .events
            .send(Ok(ExecEvent::Exited(ExitStatus::Code(0))))
            .await
            .unwrap();
    });
    process
}

#[tokio::test]
async fn a_sandbox_lives_and_goes() {
    let mut session = MockSession::new();
    session.expect_output().returning(|request, cap| {
        let Program::Argv(argv) = request.program else {
            panic!("argv was asked for")
        };
        assert_eq!(argv, [b"echo".to_vec(), b"it's".to_vec()]);
        assert_eq!(
            request.env.iter().collect::<Vec<_>>(),
            [("MODE", "ci"), ("TOKEN", "secret")]
        );
        assert_eq!(cap, 10);
        Ok(Output::new(ExitStatus::Code(0), "it's\n", ""))
    });
    session.expect_exec().returning(|request| Ok(play(request)));
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
        .stdin("over and back")
        .output()
        .await
        .unwrap();
    assert_eq!(out.stdout, "over and back");
    // Known to the client: nobody is asked for it again.
    assert_eq!(client.connect(sbx.id()).await.unwrap().uid(), sbx.uid());
    sbx.delete().await.unwrap();
}

#[tokio::test]
async fn a_failed_setup_leaves_nothing_and_says_what_failed() {
    let mut session = MockSession::new();
    session
        .expect_output()
        .returning(|_, _| Ok(Output::new(ExitStatus::Code(2), "", "no network\n")));
    let client = client(backend(1, vec![]), sessions(session));
    let error = client
        .sandbox()
        .init(ExecRequest::shell("pip install x"))
        .create()
        .await
        .unwrap_err();
    let Error::Creation(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Personalise, CreationReason::Setup)
    );
    assert!(error.message.contains("exit code 2: no network"), "{error}");
}

#[tokio::test]
async fn a_sandbox_that_fails_to_start_is_not_waited_for() {
    let mut backend = backend(1, vec![event(SandboxEventKind::Failed, "image not found")]);
    backend
        .expect_diagnose()
        .returning(|_| Ok(Diagnosis::default()));
    let mut sessions = MockSessionSource::new();
    sessions.expect_evict().returning(|_| ());
    sessions.expect_session().returning(|_, _| {
        Err(Error::Timeout {
            operation: "dial",
            after: Duration::ZERO,
        })
    });
    let error = client(backend, sessions)
        .sandbox()
        .create()
        .await
        .unwrap_err();
    assert!(matches!(error, Error::Creation(_)), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_creation_that_fails_says_what_the_backend_knows() {
    use SandboxEventKind::{Created, Failed, Started, Warning};
    let refused = || Error::connection(ConnectionStage::Dial, "nothing listens on port 2222", None);
    let late = || Error::Timeout {
        operation: "connect",
        after: Duration::from_secs(9),
    };
    type Case = (
        Vec<SandboxEventKind>,
        fn() -> Error,
        (&'static str, Option<CreationReason>),
        (CreationStage, CreationReason, &'static str),
    );
    let (pull, none) = (Some(CreationReason::ImagePull), None);
    let (provision, connect) = (CreationStage::Provision, CreationStage::Connect);
    let table: Vec<Case> = vec![
        (
            vec![Created, Failed],
            late,
            ("not found", pull),
            (provision, CreationReason::ImagePull, "not found"),
        ),
        (
            vec![Created, Failed],
            late,
            ("", none),
            (provision, CreationReason::Other, "as told"),
        ),
        (
            vec![Created, Failed],
            late,
            ("it is started", none),
            (provision, CreationReason::Other, "as told"),
        ),
        (
            vec![Created, Started, Failed],
            refused,
            ("", none),
            (connect, CreationReason::Crashed, "as told"),
        ),
        (
            vec![Created, Started, Failed],
            refused,
            ("exit code 1", Some(CreationReason::Crashed)),
            (connect, CreationReason::Crashed, "exit code 1"),
        ),
        (
            vec![Created, Warning],
            late,
            ("no room", Some(CreationReason::Unschedulable)),
            (
                provision,
                CreationReason::Unschedulable,
                "it was not ready in time: no room",
            ),
        ),
        (
            vec![Created, Started],
            refused,
            ("it runs", none),
            (
                connect,
                CreationReason::Unreachable,
                "SSH does not answer: nothing listens on port 2222 (it runs)",
            ),
        ),
        (
            vec![Created, Started],
            late,
            ("", none),
            (
                connect,
                CreationReason::Unreachable,
                "SSH did not answer within 9s",
            ),
        ),
    ];
    for (events, error, (summary, reason), expected) in table {
        let told: Vec<_> = events.iter().map(|kind| event(*kind, "as told")).collect();
        let mut backend = backend(1, told.clone());
        backend.expect_diagnose().returning(move |_| {
            let mut diagnosis = Diagnosis::default();
            (diagnosis.summary, diagnosis.reason) = (summary.into(), reason);
            diagnosis.events = vec![
                event(Warning, "from the cluster"),
                event(Warning, "from the cluster"),
            ];
            Ok(diagnosis)
        });
        let mut sessions = MockSessionSource::new();
        sessions.expect_evict().returning(|_| ());
        let last = events.len();
        sessions
            .expect_session()
            .returning(move |_, _| Err(error()));
        let source: Arc<dyn sandbox::SessionSource> = Arc::new(Patient { inner: sessions });
        let client = Client::with_parts(Arc::new(backend), source, Defaults::default());
        let error = client.sandbox().create().await.unwrap_err();
        let Error::Creation(error) = error else {
            panic!("{error}")
        };
        assert_eq!(
            (error.stage, error.reason, error.message.as_str()),
            expected
        );
        let more = error
            .events
            .iter()
            .filter(|event| event.message == "from the cluster")
            .count();
        assert_eq!(
            (error.events.len(), more),
            (last + 1, 1),
            "{:?}",
            error.events
        );
    }
}

/// A backend that has learned from a failure to make it in another way is asked once more, when the name is free
/// again, however long that takes.
#[tokio::test(start_paused = true)]
async fn what_can_be_made_in_another_way_is_made_once_more() {
    use SandboxEventKind::{Created, Failed};
    for (always, made) in [(false, true), (true, false)] {
        let mut backend = MockSandboxBackend::new();
        backend.expect_name().return_const("mock");
        let attempts = Arc::new(AtomicUsize::new(0));
        let counted = attempts.clone();
        backend
            .expect_create()
            .times(2)
            .returning(move |spec: SandboxSpec| {
                counted.fetch_add(1, Ordering::Relaxed);
                Ok(info(&spec.id.unwrap()))
            });
        backend.expect_access().returning(|id| Ok(access(id)));
        backend.expect_get().returning(|id, _| Ok(info(id)));
        let seen = attempts.clone();
        backend.expect_events().returning(move |_| {
            let fails = always || seen.load(Ordering::Relaxed) == 1;
            let mut told = vec![Ok(event(Created, ""))];
            told.extend(fails.then(|| Ok(event(Failed, "the volume is empty"))));
            Ok(Box::pin(stream::iter(told)))
        });
        backend.expect_diagnose().returning(|_| {
            let mut diagnosis = Diagnosis::default();
            (diagnosis.summary, diagnosis.try_again) = ("the volume is empty".into(), true);
            Ok(diagnosis)
        });
        let mut sessions = MockSessionSource::new();
        sessions.expect_evict().returning(|_| ());
        let session: Arc<dyn sandbox::Session> = Arc::new(MockSession::new());
        sessions
            .expect_session()
            .returning(move |_, _| Ok(session.clone()));
        let source: Arc<dyn sandbox::SessionSource> = Arc::new(Patient { inner: sessions });
        let client = Client::with_parts(Arc::new(SlowToGo(backend)), source, Defaults::default());
        let created = client.sandbox().create().await;
        assert_eq!(
            (created.is_ok(), attempts.load(Ordering::Relaxed)),
            (made, 2)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_does_not_answer_in_time_is_a_creation_that_failed() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend.expect_create().returning(|_| {
        Err(Error::Timeout {
            operation: "create a Pod",
            after: Duration::from_secs(9),
        })
    });
    let client = Client::with_parts(
        Arc::new(backend),
        Arc::new(MockSessionSource::new()),
        Defaults::default(),
    );
    let error = client.sandbox().id("sbx-a").create().await.unwrap_err();
    assert!(
        error.is_retryable() && error.sandbox_id().is_some_and(|id| id.as_str() == "sbx-a"),
        "{error}"
    );
    let Error::Creation(error) = error else {
        panic!("{error}")
    };
    assert_eq!(
        (error.stage, error.reason),
        (CreationStage::Provision, CreationReason::Timeout)
    );
    assert!(error.message.contains("create a Pod"), "{}", error.message);
}

/// Fails only when all events have been heard.
#[derive(Debug)]
struct Patient {
    inner: MockSessionSource,
}

#[async_trait::async_trait]
impl sandbox::SessionSource for Patient {
    async fn session(
        &self,
        access: Arc<Access>,
        deadline: sandbox::Deadline,
    ) -> Result<Arc<dyn sandbox::Session>> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.inner.session(access, deadline).await
    }
    async fn evict(&self, uid: &Uid) {
        self.inner.evict(uid).await;
    }
}

/// A deletion takes half a minute, as that of a Pod whose machine is busy.
#[derive(Debug)]
struct SlowToGo(MockSandboxBackend);

#[async_trait::async_trait]
impl sandbox::SandboxBackend for SlowToGo {
    fn name(&self) -> &'static str {
        self.0.name()
    }
    fn capabilities(&self) -> sandbox::Capabilities {
        self.0.capabilities()
    }
    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        self.0.create(spec).await
    }
    async fn get(&self, id: &SandboxId, freshness: sandbox::Freshness) -> Result<SandboxInfo> {
        self.0.get(id, freshness).await
    }
    async fn list(&self, filter: sandbox::ListFilter) -> Result<Vec<SandboxInfo>> {
        self.0.list(filter).await
    }
    async fn events(&self, id: &SandboxId) -> Result<sandbox::EventStream> {
        self.0.events(id).await
    }
    async fn access(&self, id: &SandboxId) -> Result<Access> {
        self.0.access(id).await
    }
    async fn diagnose(&self, id: &SandboxId) -> Result<Diagnosis> {
        self.0.diagnose(id).await
    }
    async fn logs(
        &self,
        id: &SandboxId,
        options: sandbox::LogOptions,
    ) -> Result<sandbox::LogStream> {
        self.0.logs(id, options).await
    }
    async fn extend(&self, id: &SandboxId, ttl: Duration) -> Result<SandboxInfo> {
        self.0.extend(id, ttl).await
    }
    async fn delete(&self, _: &SandboxId, _: DeleteOptions) -> Result<()> {
        tokio::time::sleep(Duration::from_secs(30)).await;
        Ok(())
    }
    async fn sweep(&self, options: sandbox::SweepOptions) -> Result<sandbox::SweepReport> {
        self.0.sweep(options).await
    }
}

#[tokio::test]
async fn what_is_for_another_backend_is_refused() {
    let client = client(backend(0, vec![]), MockSessionSource::new());
    let error = client
        .sandbox()
        .backend_options("k8s", "anything".into())
        .create()
        .await
        .unwrap_err();
    assert!(
        matches!(error, Error::Unsupported { .. }) && error.to_string().contains("backend k8s"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_dropped_creation_is_undone() {
    struct Never;
    impl std::fmt::Debug for Never {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("Never")
        }
    }
    #[async_trait::async_trait]
    impl sandbox::SessionSource for Never {
        async fn session(
            &self,
            _: Arc<Access>,
            _: sandbox::Deadline,
        ) -> Result<Arc<dyn sandbox::Session>> {
            std::future::pending().await
        }
        async fn evict(&self, _: &Uid) {}
    }
    let deleted = Arc::new(tokio::sync::Notify::new());
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_create()
        .returning(|spec: SandboxSpec| Ok(info(&spec.id.unwrap())));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::pending())));
    let signal = deleted.clone();
    backend.expect_delete().times(1).returning(move |_, _| {
        signal.notify_one();
        Ok(())
    });
    let client = Client::with_parts(Arc::new(backend), Arc::new(Never), Defaults::default());
    let create = client.sandbox().create();
    assert!(
        tokio::time::timeout(Duration::from_secs(1), create)
            .await
            .is_err()
    );
    deleted.notified().await;
}

#[tokio::test]
async fn mistakes_are_told_before_anything_is_made() {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    let client = client(backend, MockSessionSource::new());
    for (builder, named) in [
        (client.sandbox().memory("much"), "much"),
        (client.sandbox().id("No!"), "No!"),
        (client.sandbox().env("A=B", "x"), "A=B"),
        (
            client.sandbox().label("sandbox.dev/x", "y"),
            "sandbox.dev/x",
        ),
        (client.sandbox().ttl(Duration::ZERO), "ttl"),
    ] {
        let error = builder.create().await.unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error}");
        assert!(error.to_string().contains(named), "{error}");
    }
}

#[tokio::test]
async fn a_lost_connection_says_what_became_of_the_sandbox() {
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
    // Streamed, it says so where it tells of the loss.
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
}

#[tokio::test]
async fn scoped_deletes_whatever_came_of_the_work() {
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
async fn scoped_deletes_what_panics_or_is_dropped() {
    let deleted = Arc::new(tokio::sync::Semaphore::new(0));
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_create()
        .returning(|spec: SandboxSpec| Ok(info(&spec.id.unwrap())));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend.expect_get().returning(|id, _| Ok(info(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::iter([]))));
    let tell = Arc::clone(&deleted);
    backend.expect_delete().times(3).returning(move |_, _| {
        tell.add_permits(1);
        Ok(())
    });
    let client = client(backend, sessions(MockSession::new()));
    for how in ["a panic of the closure", "a panic of the work", "dropped"] {
        let (client, work_began) = (client.clone(), Arc::new(tokio::sync::Notify::new()));
        let begins = Arc::clone(&work_began);
        let scoped = tokio::spawn(async move {
            client
                .scoped(client.sandbox(), |_| {
                    assert_ne!(how, "a panic of the closure");
                    async move {
                        assert_ne!(how, "a panic of the work");
                        begins.notify_one();
                        std::future::pending::<Result<()>>().await
                    }
                })
                .await
        });
        if how == "dropped" {
            work_began.notified().await;
            scoped.abort();
        }
        assert_eq!(
            scoped.await.unwrap_err().is_panic(),
            how != "dropped",
            "{how}"
        );
        let gone = tokio::time::timeout(Duration::from_secs(10), deleted.acquire()).await;
        gone.unwrap_or_else(|_| panic!("{how}: it was left"))
            .unwrap()
            .forget();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_connects_to_what_is_being_deleted() {
    let asked = Arc::new(AtomicUsize::new(0));
    let mut sessions = MockSessionSource::new();
    let (session, count) = (Arc::new(MockSession::new()), Arc::clone(&asked));
    sessions.expect_session().returning(move |_, _| {
        count.fetch_add(1, Ordering::Relaxed);
        Ok(session.clone())
    });
    sessions.expect_evict().returning(|_| ());
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_create()
        .returning(|spec: SandboxSpec| Ok(info(&spec.id.unwrap())));
    backend.expect_get().returning(|id, _| Ok(info(id)));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend
        .expect_events()
        .returning(|_| Ok(Box::pin(stream::pending())));
    let (begun, deleting) = std::sync::mpsc::channel();
    let count = Arc::clone(&asked);
    backend.expect_delete().times(1).returning(move |_, _| {
        begun.send(count.load(Ordering::Relaxed)).unwrap();
        // Two times as long as it takes until somebody asks for a session of an attached one.
        std::thread::sleep(Duration::from_millis(700));
        Ok(())
    });
    let mut defaults = Defaults::default();
    defaults.lifetime.attach_timeout = Some(Duration::from_secs(1));
    let client = Client::with_parts(Arc::new(backend), Arc::new(sessions), defaults);
    let sbx = client.sandbox().create().await.unwrap();
    tokio::time::sleep(Duration::from_millis(500)).await;
    sbx.delete().await.unwrap();
    let before = deleting.recv().unwrap();
    assert!(before > 1, "it was kept attached until then");
    assert_eq!(asked.load(Ordering::Relaxed), before);
}

#[tokio::test]
async fn the_original_words_work_by_id() {
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
