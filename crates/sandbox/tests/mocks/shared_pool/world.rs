//! A backend with shared pools, its election, and servers that obey one key.

mod pools;
mod sessions;

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use sandbox::prelude::*;
use sandbox::{
    Accept, Access, Assignment, ByteStream, Canary, Capabilities, Claimed, ConnectionStage,
    Deadline, Defaults, DeleteOptions, Diagnosis, Endpoint, EventStream, ExecRequest, Freshness,
    KeyPair, ListFilter, LogOptions, LogStream, NetworkIsolation, PoolClaim, PoolKey, PoolLead,
    PoolLeader, PoolMember, PoolMemberState, PoolName, PortListener, PortProbe, PublicKey,
    SandboxBackend, SandboxEventKind, SandboxSpec, SandboxState, Session, SessionSource,
    SharedPools, SweepOptions, SweepReport, Uid,
};
use sandbox_core::MockSession;
use tokio::sync::watch;

use crate::support::{echo, event, info};

/// How long a creation lasts.
const CREATION: Duration = Duration::from_millis(500);

/// A sandbox, its keys, and what its server obeys.
#[derive(Clone)]
pub(super) struct Pod {
    pub(super) info: SandboxInfo,
    pub(super) spec: SandboxSpec,
    host: KeyPair,
    stored: KeyPair,
    pub(super) authorized: PublicKey,
    pub(super) was_claimed: bool,
    /// The environment file.
    pub(super) environment: Vec<u8>,
    new_key: Option<KeyPair>,
}

#[derive(Default)]
pub(super) struct State {
    pub(super) pods: BTreeMap<SandboxId, Pod>,
    pub(super) created: usize,
    pub(super) deleted: Vec<SandboxId>,
    pub(super) evicted: HashSet<Uid>,
    /// What was called, in order, for tests of the order.
    pub(super) calls: Vec<&'static str>,
    pub(super) failure: Option<&'static str>,
    /// How many of the next offers and stores of keys fail.
    pub(super) failing_offers: usize,
    pub(super) failing_stores: usize,
    /// Whose server does not answer.
    pub(super) silent: HashSet<SandboxId>,
    /// Whether the servers are of a version that knows no claims.
    pub(super) older_servers: bool,
    /// Whether sandboxes have a network, from which they can be kept.
    pub(super) has_network: bool,
    /// What becomes of connections to what proves that.
    pub(super) canary: Option<PortProbe>,
    /// Which sandboxes were ordered to have no network after their creation.
    pub(super) isolated: HashSet<SandboxId>,
    /// Each `ttl` that was claimed, taken over, assigned or started with.
    pub(super) ttls: Vec<Option<Duration>>,
    /// Whether initial commands fail.
    pub(super) failing_commands: bool,
    leader: Option<(PoolName, PoolKey, u64)>,
    terms: u64,
}

#[derive(Clone)]
pub(super) struct World {
    state: Arc<Mutex<State>>,
    version: watch::Sender<u64>,
}

impl Default for World {
    fn default() -> Self {
        Self {
            state: Arc::default(),
            version: watch::Sender::new(1),
        }
    }
}

impl std::fmt::Debug for World {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("World")
    }
}

impl World {
    pub(super) fn client(&self) -> Client {
        let defaults = Defaults::default();
        Client::with_parts(Arc::new(self.clone()), Arc::new(self.clone()), defaults)
    }

    /// Reads or changes the state. Watchers see every change.
    pub(super) fn with<T>(&self, work: impl FnOnce(&mut State) -> T) -> T {
        let result = work(&mut self.state.lock().unwrap());
        self.version.send_modify(|version| *version += 1);
        result
    }

    fn read<T>(&self, work: impl FnOnce(&State) -> T) -> T {
        work(&self.state.lock().unwrap())
    }

    pub(super) fn ids(&self, state: PoolMemberState) -> Vec<SandboxId> {
        let is_in = |pod: &&Pod| {
            pod.info
                .pool
                .as_ref()
                .is_some_and(|pool| pool.state == state)
        };
        self.read(|world| {
            world
                .pods
                .values()
                .filter(is_in)
                .map(|pod| pod.info.id.clone())
                .collect()
        })
    }

    pub(super) fn created(&self) -> usize {
        self.read(|state| state.created)
    }

    pub(super) fn deleted(&self) -> usize {
        self.read(|state| state.deleted.len())
    }

    pub(super) fn pod(&self, id: &SandboxId) -> Pod {
        self.read(|state| state.pods[id].clone())
    }

    /// Lets the elected filler lose its right.
    pub(super) fn depose(&self) {
        self.with(|state| state.leader = None);
    }

    /// Changes the state of a member, if it is the expected one.
    fn advance(&self, id: &SandboxId, from: PoolMemberState, to: PoolMemberState) -> bool {
        self.with(|state| {
            let member = state
                .pods
                .get_mut(id)
                .and_then(|pod| pod.info.pool.as_mut());
            match member {
                Some(member) if member.state == from => {
                    member.state = to;
                    true
                }
                _ => false,
            }
        })
    }
}

fn uid(id: &SandboxId) -> Uid {
    Uid::new(format!("uid-of-{id}"))
}

fn failure(operation: &'static str) -> Error {
    Error::Backend {
        backend: "mock",
        operation,
        message: "it is away".into(),
        transient: true,
        source: None,
    }
}

fn key_of(spec: &SandboxSpec) -> PoolKey {
    let mut digest = [0; 32];
    let text = format!("{:?} {:?}", spec.image, spec.labels);
    for (index, byte) in text.bytes().enumerate() {
        digest[index % 8] ^= byte.rotate_left((index % 7) as u32);
    }
    PoolKey::from_digest(&digest)
}

fn access_of(pod: &Pod, key: &KeyPair) -> Access {
    Access {
        id: pod.info.id.clone(),
        uid: pod.info.uid.clone(),
        user: "sandbox".into(),
        host_key: pod.host.public.clone(),
        client_key: key.private.clone(),
        endpoint: Endpoint::Memory("mock".into()),
    }
}

#[async_trait]
impl SandboxBackend for World {
    fn name(&self) -> &'static str {
        "mock"
    }

    fn capabilities(&self) -> Capabilities {
        let mut capabilities = Capabilities::default();
        capabilities.sandbox_sshd = true;
        capabilities.network = self.read(|state| state.has_network);
        capabilities.network_isolation = true;
        capabilities
    }

    async fn isolate_network(&self, id: &SandboxId, _: &Uid) -> Result<NetworkIsolation> {
        let canary = Canary {
            name: "the API server",
            address: "10.96.0.1:443".parse().unwrap(),
        };
        let mut isolation = NetworkIsolation::new(vec![canary], "nothing enforces it");
        let pod = self.pod(id);
        isolation.was_ordered =
            self.with(|state| !state.isolated.insert(id.clone())) || pod.spec.is_offline;
        Ok(isolation)
    }

    fn shared_pools(&self) -> Option<Arc<dyn SharedPools>> {
        Some(Arc::new(self.clone()))
    }

    async fn create(&self, spec: SandboxSpec) -> Result<SandboxInfo> {
        let id = spec.id.clone().unwrap();
        let failure = self.with(|state| {
            state.created += 1;
            state.failure
        });
        tokio::time::sleep(CREATION).await;
        if let Some(message) = failure {
            return Err(Error::invalid("quota", "0", message));
        }
        let mut info = info(&id);
        info.uid = uid(&id);
        info.created_at = SystemTime::now();
        info.image.clone_from(&spec.image);
        info.pool = spec.pool.clone().map(|name| PoolMember {
            name,
            key: key_of(&spec),
            state: PoolMemberState::Filling,
        });
        let stored = KeyPair::generate()?;
        let pod = Pod {
            info: info.clone(),
            spec,
            host: KeyPair::generate()?,
            authorized: stored.public.clone(),
            stored,
            was_claimed: false,
            environment: Vec::new(),
            new_key: None,
        };
        self.with(|state| state.pods.insert(id, pod));
        Ok(info)
    }

    async fn get(&self, id: &SandboxId, _: Freshness) -> Result<SandboxInfo> {
        let info = self.read(|state| state.pods.get(id).map(|pod| pod.info.clone()));
        info.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    async fn list(&self, _: ListFilter) -> Result<Vec<SandboxInfo>> {
        Ok(vec![])
    }

    async fn events(&self, _: &SandboxId) -> Result<EventStream> {
        let first = event(SandboxEventKind::Started, "");
        Ok(Box::pin(stream::iter([Ok(first)]).chain(stream::pending())))
    }

    async fn access(&self, id: &SandboxId) -> Result<Access> {
        let access = self.read(|state| {
            let pod = state.pods.get(id)?;
            Some(access_of(pod, pod.new_key.as_ref().unwrap_or(&pod.stored)))
        });
        access.ok_or_else(|| Error::NotFound { id: id.clone() })
    }

    async fn diagnose(&self, _: &SandboxId) -> Result<Diagnosis> {
        Ok(Diagnosis::default())
    }

    async fn logs(&self, _: &SandboxId, _: LogOptions) -> Result<LogStream> {
        Ok(Box::pin(stream::empty()))
    }

    async fn extend(&self, id: &SandboxId, _: Duration) -> Result<SandboxInfo> {
        self.get(id, Freshness::Latest).await
    }

    async fn assign(&self, id: &SandboxId, _: &Uid, assignment: Assignment) -> Result<SandboxInfo> {
        self.with(|state| {
            state.calls.push("assign");
            state.ttls.push(assignment.ttl);
        });
        self.get(id, Freshness::Latest).await
    }

    async fn delete(&self, id: &SandboxId, options: DeleteOptions) -> Result<()> {
        assert_eq!(options.uid, Some(uid(id)));
        self.with(|state| {
            state.pods.remove(id);
            state.deleted.push(id.clone());
        });
        Ok(())
    }

    async fn sweep(&self, _: SweepOptions) -> Result<SweepReport> {
        Ok(SweepReport::default())
    }
}
