//! Mocks of a backend and of its sessions that work, for tests that change one method of them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::stream;
use sandbox::prelude::*;
use sandbox::{
    Access, Deadline, Defaults, DeleteOptions, Endpoint, ExecRequest, Isolation, KeyPair,
    SandboxEvent, SandboxEventKind, SandboxSpec, SandboxState, Session, SessionSource, Uid,
};
use sandbox_core::{MockSandboxBackend, MockSession, MockSessionSource, Process};

const UID: &str = "uid-1";

pub(crate) fn info(id: &SandboxId) -> SandboxInfo {
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
        annotations: Default::default(),
        created_at: SystemTime::now(),
        expires_at: None,
        on_expiry: Default::default(),
        is_marked_paused: false,
        isolation: Isolation {
            kind: "none".into(),
            applied: vec![],
        },
        limits: vec![],
        end: None,
        pool: None,
    }
}

pub(crate) fn access(id: &SandboxId) -> Access {
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

pub(crate) fn event(kind: SandboxEventKind, message: &str) -> SandboxEvent {
    SandboxEvent {
        at: SystemTime::now(),
        kind,
        message: message.into(),
    }
}

/// Creates a backend whose sandboxes can be created and found. Its events and deletions are up to
/// the test.
pub(crate) fn base_backend() -> MockSandboxBackend {
    let mut backend = MockSandboxBackend::new();
    backend.expect_name().return_const("mock");
    backend
        .expect_create()
        .returning(|spec: SandboxSpec| Ok(info(&spec.id.unwrap())));
    backend.expect_access().returning(|id| Ok(access(id)));
    backend.expect_get().returning(|id, _| Ok(info(id)));
    backend
}

/// Creates a backend with these events, which expects exactly so many deletions.
pub(crate) fn backend(deletions: usize, events: Vec<SandboxEvent>) -> MockSandboxBackend {
    let mut backend = base_backend();
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

/// Creates a source of this session.
pub(crate) fn sessions(session: MockSession) -> MockSessionSource {
    let session: Arc<dyn Session> = Arc::new(session);
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

/// Creates a client of a backend and a source of sessions.
pub(crate) fn client(backend: MockSandboxBackend, sessions: impl SessionSource) -> Client {
    Client::with_parts(Arc::new(backend), Arc::new(sessions), Defaults::default())
}

/// Runs a command that writes its input to its output.
pub(crate) fn echo(request: ExecRequest) -> Process {
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

/// Delays sessions and evictions. A deletion begins with an eviction, so it is delayed as well.
#[derive(Debug)]
pub(crate) struct SlowSessions {
    inner: MockSessionSource,
    session_delay: Duration,
    evict_delay: Duration,
}

impl SlowSessions {
    pub(crate) fn new(inner: MockSessionSource) -> Self {
        Self {
            inner,
            session_delay: Duration::ZERO,
            evict_delay: Duration::ZERO,
        }
    }

    pub(crate) fn session_delay(mut self, delay: Duration) -> Self {
        self.session_delay = delay;
        self
    }

    pub(crate) fn evict_delay(mut self, delay: Duration) -> Self {
        self.evict_delay = delay;
        self
    }
}

#[async_trait]
impl SessionSource for SlowSessions {
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>> {
        tokio::time::sleep(self.session_delay).await;
        self.inner.session(access, deadline).await
    }

    async fn evict(&self, uid: &Uid) {
        tokio::time::sleep(self.evict_delay).await;
        self.inner.evict(uid).await;
    }
}
