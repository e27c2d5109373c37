//! A backend with shared pools, its election, and servers that obey one key.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use futures_util::{StreamExt, stream};
use sandbox::prelude::*;
use sandbox::{
    Access, Capabilities, Claimed, ConnectionStage, Deadline, Defaults, DeleteOptions, Diagnosis,
    Endpoint, EventStream, ExecRequest, Freshness, KeyPair, ListFilter, LogOptions, LogStream,
    PoolClaim, PoolKey, PoolLead, PoolLeader, PoolMember, PoolMemberState, PoolName, PublicKey,
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
        capabilities
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

#[async_trait]
impl SharedPools for World {
    async fn key(&self, spec: &SandboxSpec) -> Result<PoolKey> {
        Ok(key_of(spec))
    }

    async fn offer(&self, id: &SandboxId, _: &Uid) -> Result<bool> {
        let fails = self.with(|state| {
            let fails = state.failing_offers > 0;
            state.failing_offers = state.failing_offers.saturating_sub(1);
            fails
        });
        if fails {
            return Err(failure("offer the sandbox"));
        }
        Ok(self.advance(id, PoolMemberState::Filling, PoolMemberState::Waiting))
    }

    async fn withdraw(&self, id: &SandboxId, _: &Uid) -> Result<bool> {
        Ok(self.advance(id, PoolMemberState::Waiting, PoolMemberState::Draining))
    }

    async fn members(&self, name: Option<PoolName>) -> Result<Vec<SandboxInfo>> {
        let is_member = |pod: &&Pod| {
            let pool = pod.info.pool.as_ref();
            pool.is_some_and(|pool| name.as_ref().is_none_or(|name| pool.name == *name))
        };
        Ok(self.read(|state| {
            state
                .pods
                .values()
                .filter(is_member)
                .map(|pod| pod.info.clone())
                .collect()
        }))
    }

    async fn wait_for_change(&self, since: u64) -> u64 {
        let mut version = self.version.subscribe();
        let version = version.wait_for(|version| *version > since).await;
        *version.unwrap()
    }

    async fn claim(&self, claim: PoolClaim) -> Result<Option<Claimed>> {
        let waiting = self.ids(PoolMemberState::Waiting);
        // Another claimer may be faster at each await.
        tokio::task::yield_now().await;
        for id in waiting {
            if !self.advance(&id, PoolMemberState::Waiting, PoolMemberState::Taken) {
                continue;
            }
            let claimed = self.with(|state| {
                state.calls.push("claim");
                let pod = state.pods.get_mut(&id).unwrap();
                pod.info.labels.extend(claim.labels.clone());
                pod.new_key = Some(claim.client_key.clone());
                Claimed {
                    info: pod.info.clone(),
                    first_access: access_of(pod, &pod.stored),
                    access: access_of(pod, &claim.client_key),
                }
            });
            return Ok(Some(claimed));
        }
        Ok(None)
    }

    async fn store_claim_key(&self, _: &SandboxId, _: &Uid) -> Result<()> {
        let fails = self.with(|state| {
            state.calls.push("store");
            let fails = state.failing_stores > 0;
            state.failing_stores = state.failing_stores.saturating_sub(1);
            fails
        });
        if fails {
            return Err(failure("store the key"));
        }
        Ok(())
    }

    async fn lead(&self, name: &PoolName, key: &PoolKey) -> Result<Box<dyn PoolLead>> {
        loop {
            let mut version = self.version.subscribe();
            version.borrow_and_update();
            if self.read(|state| state.leader.is_none()) {
                let term = self.with(|state| {
                    state.terms += 1;
                    state.leader = Some((name.clone(), key.clone(), state.terms));
                    state.terms
                });
                let world = self.clone();
                return Ok(Box::new(Lead { world, term }));
            }
            version.changed().await.unwrap();
        }
    }

    async fn leaders(&self) -> Result<Vec<PoolLeader>> {
        Ok(self.read(|state| {
            let leader = |(name, key, _): &(PoolName, PoolKey, u64)| {
                let mut leader = PoolLeader::new(name.clone());
                leader.key = Some(key.clone());
                leader.holder = Some("host-1".into());
                leader.is_current = true;
                leader
            };
            state.leader.iter().map(leader).collect()
        }))
    }

    async fn remove(&self, _: &PoolName) -> Result<bool> {
        Ok(self.with(|state| state.leader.take().is_some()))
    }
}

#[derive(Debug)]
struct Lead {
    world: World,
    term: u64,
}

#[async_trait]
impl PoolLead for Lead {
    fn is_held(&self) -> bool {
        let held = |(_, _, term): &(PoolName, PoolKey, u64)| *term == self.term;
        self.world
            .read(|state| state.leader.as_ref().is_some_and(held))
    }

    async fn wait_until_lost(&self) {
        let mut version = self.world.version.subscribe();
        while self.is_held() {
            version.changed().await.unwrap();
        }
    }

    async fn release(&self) -> Result<()> {
        self.world.with(|state| state.leader = None);
        Ok(())
    }
}

#[async_trait]
impl SessionSource for World {
    async fn session(&self, access: Arc<Access>, _: Deadline) -> Result<Arc<dyn Session>> {
        let pod = self.read(|state| state.pods.get(&access.id).cloned());
        let is_silent = self.read(|state| state.silent.contains(&access.id));
        match pod {
            Some(pod) if pod.info.state != SandboxState::Ended && !is_silent => {
                if pod.authorized != access.client_key.public_key()? {
                    return Err(Error::connection(ConnectionStage::Auth, "refused", None));
                }
            }
            _ => return Err(Error::connection(ConnectionStage::Dial, "silent", None)),
        }
        Ok(Arc::new(session(self, &access.id)))
    }

    async fn evict(&self, uid: &Uid) {
        self.with(|state| state.evicted.insert(uid.clone()));
    }
}

fn session(world: &World, id: &SandboxId) -> MockSession {
    let mut session = MockSession::new();
    let (of_claim, of_output, of_upload, of_stat, of_download) = (
        world.clone(),
        world.clone(),
        world.clone(),
        world.clone(),
        world.clone(),
    );
    let (claimed, uploaded, found, downloaded) = (id.clone(), id.clone(), id.clone(), id.clone());
    session.expect_claim().returning(move |request| {
        Ok(of_claim.with(|state| {
            state.calls.push("take over");
            let pod = state.pods.get_mut(&claimed).unwrap();
            let is_first = !std::mem::replace(&mut pod.was_claimed, true);
            if is_first {
                pod.authorized = request.authorized;
            }
            is_first
        }))
    });
    session.expect_output().returning(move |_, _| {
        let code = of_output.read(|state| u32::from(state.failing_commands));
        Ok(Output::new(ExitStatus::Code(code), "", ""))
    });
    session
        .expect_exec()
        .returning(|request: ExecRequest| Ok(echo(request)));
    session.expect_create_dir().returning(|_, _| Ok(()));
    session.expect_upload().returning(move |_, mut from| {
        let mut text = Vec::new();
        let read = tokio::io::AsyncReadExt::read_to_end(&mut from, &mut text);
        futures_util::FutureExt::now_or_never(read)
            .unwrap()
            .unwrap();
        of_upload.with(|state| state.pods.get_mut(&uploaded).unwrap().environment = text);
        Ok(0)
    });
    session.expect_stat().returning(move |path, _| {
        if of_stat.pod(&found).environment.is_empty() {
            let reason = sandbox::TransferReason::NotFound;
            let direction = sandbox::Direction::Download;
            return Err(Error::transfer(
                direction,
                path.clone(),
                reason,
                "no such file",
                None,
            ));
        }
        Ok(sandbox::FileInfo::new(
            path.clone(),
            sandbox::FileKind::File,
            1,
            0o600,
            None,
        ))
    });
    session.expect_download().returning(move |_, mut to| {
        let text = of_download.pod(&downloaded).environment;
        let write = tokio::io::AsyncWriteExt::write_all(&mut to, &text);
        futures_util::FutureExt::now_or_never(write)
            .unwrap()
            .unwrap();
        Ok(text.len() as u64)
    });
    session
}
