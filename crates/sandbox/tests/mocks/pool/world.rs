//! A backend that counts, and its sessions.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use sandbox::prelude::*;
use sandbox::{
    Accept, Access, Assignment, ByteStream, Canary, Capabilities, CreationReason, Deadline,
    Defaults, DeleteOptions, Diagnosis, Direction, EventStream, ExecRequest, Freshness, ListFilter,
    LogOptions, LogStream, NetworkIsolation, PortListener, PortProbe, SandboxBackend,
    SandboxEventKind, SandboxSpec, SandboxState, Session, SessionSource, SweepOptions, SweepReport,
    TransferError, TransferReason, Uid,
};
use sandbox_core::MockSession;

use crate::support::{access, echo, event, info};

/// How long a creation lasts.
const CREATION: Duration = Duration::from_millis(500);

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) created: Vec<SandboxSpec>,
    pub(super) assigned: Vec<(SandboxId, Assignment)>,
    pub(super) deleted: HashSet<SandboxId>,
    /// Sandboxes that ended without the pool's doing.
    pub(super) ended: HashSet<SandboxId>,
    /// Why creations fail.
    pub(super) failure: Option<&'static str>,
    /// Whether sandboxes find no room.
    pub(super) is_full: bool,
    /// Whether sandboxes do not start, although they have room.
    pub(super) is_stuck: bool,
    /// Whether the backend refuses lookups.
    pub(super) is_away: bool,
    /// Whether the backend does not answer lookups.
    pub(super) is_silent: bool,
    /// Whether the next transfer is lost with its sandbox.
    pub(super) loses_transfer: bool,
    pub(super) commands: Vec<ExecRequest>,
    /// Each `ttl` that was started, with the count of commands and probes before it.
    pub(super) started: Vec<(Duration, usize, usize)>,
    /// Whether sandboxes have a network, from which they can be kept.
    pub(super) has_network: bool,
    /// What becomes of connections to what proves that.
    pub(super) canary: Option<PortProbe>,
    /// How often that was tried.
    pub(super) probes: usize,
}

/// A backend and its sessions.
#[derive(Debug, Clone, Default)]
pub(super) struct World(Arc<Mutex<State>>);

impl World {
    pub(super) fn client(&self) -> Client {
        let defaults = Defaults::default();
        Client::with_parts(Arc::new(self.clone()), Arc::new(self.clone()), defaults)
    }

    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    pub(super) fn created(&self) -> usize {
        self.with(|state| state.created.len())
    }

    pub(super) fn deleted(&self) -> usize {
        self.with(|state| state.deleted.len())
    }
}

/// A listener that nothing connects to.
struct Silence;

#[async_trait]
impl Accept for Silence {
    async fn accept(&mut self) -> std::io::Result<Option<Box<dyn ByteStream>>> {
        std::future::pending().await
    }
}

fn uid(id: &SandboxId) -> Uid {
    Uid::new(format!("uid-of-{id}"))
}

#[async_trait]
impl SandboxBackend for World {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.sandbox_sshd = true;
        capabilities.network = self.with(|state| state.has_network);
        capabilities.network_isolation = true;
        capabilities
    }

    async fn isolate_network(&self, _: &SandboxId, _: &Uid) -> Result<NetworkIsolation> {
        let canary = Canary {
            name: "the API server",
            address: "10.96.0.1:443".parse().unwrap(),
        };
        Ok(NetworkIsolation::new(vec![canary], "nothing enforces it"))
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        let id = spec.id.clone().unwrap();
        let failure = self.with(|state| {
            state.created.push(spec);
            state.failure
        });
        tokio::time::sleep(CREATION).await;
        match failure {
            Some(message) => Err(sandbox::CreationError {
                id,
                stage: sandbox::CreationStage::Provision,
                reason: CreationReason::Quota,
                message: message.to_owned(),
                events: vec![],
                log_tail: String::new(),
                source: None,
            }
            .into()),
            None => self.get(&id, Freshness::Latest).await,
        }
    }

    async fn get(&self, id: &SandboxId, _: Freshness) -> Result<SandboxInfo> {
        if self.with(|state| state.is_silent) {
            std::future::pending::<()>().await;
        }
        if self.with(|state| state.is_away) {
            return Err(Error::Backend {
                backend: "mock",
                operation: "look up the sandbox",
                message: "it is away".into(),
                transient: true,
                source: None,
            });
        }
        if self.with(|state| state.deleted.contains(id)) {
            return Err(Error::NotFound { id: id.clone() });
        }
        let mut info = info(id);
        info.uid = uid(id);
        if self.with(|state| state.ended.contains(id)) {
            info.state = SandboxState::Ended;
        }
        Ok(info)
    }

    async fn list(&self, _: ListFilter) -> Result<Vec<SandboxInfo>> {
        Ok(vec![])
    }

    async fn events(&self, _: &SandboxId) -> Result<EventStream> {
        let first = if self.with(|state| state.is_full) {
            event(SandboxEventKind::Warning, "0/3 nodes are available")
        } else if self.with(|state| state.is_stuck) {
            event(SandboxEventKind::Scheduled, "on node-1")
        } else {
            event(SandboxEventKind::Started, "")
        };
        Ok(Box::pin(stream::iter([Ok(first)]).chain(stream::pending())))
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let mut access = access(id);
        access.uid = uid(id);
        Ok(access)
    }

    async fn diagnose(&self, _: &SandboxId) -> Result<Diagnosis> {
        let mut diagnosis = Diagnosis::default();
        if self.with(|state| state.is_stuck) {
            diagnosis.reason = Some(CreationReason::Other);
            diagnosis.summary = "secret \"s\" not found".to_owned();
        }
        Ok(diagnosis)
    }

    async fn logs(&self, _: &SandboxId, _: LogOptions) -> Result<LogStream> {
        Ok(Box::pin(stream::empty()))
    }

    async fn extend(&self, id: &SandboxId, _: Duration) -> Result<SandboxInfo> {
        self.get(id, Freshness::Latest).await
    }

    async fn assign(&self, id: &SandboxId, _: &Uid, assignment: Assignment) -> Result<SandboxInfo> {
        let mut info = self.get(id, Freshness::Latest).await?;
        info.labels.extend(assignment.labels.clone());
        info.annotations.extend(assignment.annotations.clone());
        self.with(|state| state.assigned.push((id.clone(), assignment)));
        Ok(info)
    }

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        assert_eq!(options.uid, Some(uid(id)));
        self.with(|state| state.deleted.insert(id.clone()));
        Ok(())
    }

    async fn sweep(&self, _: SweepOptions) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}

#[async_trait]
impl SessionSource for World {
    async fn session(&self, access: Arc<Access>, _: Deadline) -> Result<Arc<dyn Session>> {
        // A sandbox that finds no room never answers.
        if self.with(|state| state.is_full || state.is_stuck) {
            std::future::pending::<()>().await;
        }
        if self.with(|state| state.deleted.contains(&access.id)) {
            return Err(Error::NotFound {
                id: access.id.clone(),
            });
        }
        let mut session = MockSession::new();
        let world = self.clone();
        session.expect_output().returning(move |request, _| {
            world.with(|state| state.commands.push(request));
            Ok(Output::new(ExitStatus::Code(0), "", ""))
        });
        session.expect_exec().returning(|request| Ok(echo(request)));
        session.expect_create_dir().returning(|_, _| Ok(()));
        let world = self.clone();
        session.expect_upload().returning(move |request, _| {
            let is_lost = world.with(|state| std::mem::take(&mut state.loses_transfer));
            if !is_lost {
                return Ok(0);
            }
            Err(TransferError {
                path: request.path,
                direction: Direction::Upload,
                reason: TransferReason::Lost,
                message: "the connection was lost".to_owned(),
                source: None,
            }
            .into())
        });
        let world = self.clone();
        session.expect_start_ttl().returning(move |ttl| {
            world.with(|state| {
                let started = (ttl, state.commands.len(), state.probes);
                state.started.push(started);
            });
            Ok(ttl)
        });
        let world = self.clone();
        session.expect_probe_port().returning(move |host, _, _| {
            Ok(match host {
                "127.0.0.1" => PortProbe::Open,
                _ => world.with(|state| {
                    state.probes += 1;
                    state.canary.unwrap_or(PortProbe::Silent)
                }),
            })
        });
        session
            .expect_listen()
            .returning(|_| Ok(PortListener::new(4321, Silence)));
        Ok(Arc::new(session))
    }

    async fn evict(&self, _: &Uid) {}
}
