//! Sessions without a connection: a sandbox is ready as soon as its Pod runs.

use std::sync::Arc;

use async_trait::async_trait;
use futures_util::StreamExt;
use sandbox::{SandboxBackend, SandboxEventKind, Session, SessionSource};
use sandbox_core::{Access, Deadline, Error, MockSession, Result, Uid};
use sandbox_k8s::KubernetesBackend;

#[derive(Debug)]
pub(super) struct WithoutConnection {
    backend: KubernetesBackend,
    /// All sandboxes share it, because nothing is run in them.
    session: Arc<dyn Session>,
}

impl WithoutConnection {
    pub(super) fn new(backend: KubernetesBackend) -> Self {
        Self {
            backend,
            session: Arc::new(MockSession::new()),
        }
    }
}

#[async_trait]
impl SessionSource for WithoutConnection {
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>> {
        let addressed = async {
            let mut events = self.backend.events(&access.id).await?;
            while let Some(event) = events.next().await {
                if event?.kind == SandboxEventKind::Addressed {
                    return Ok(Arc::clone(&self.session));
                }
            }
            Err(Error::NotFound {
                id: access.id.clone(),
            })
        };
        deadline.bound("the start of the Pod", addressed).await
    }

    async fn evict(&self, _: &Uid) {}
}
