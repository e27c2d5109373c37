//! The sessions of all sandboxes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use sandbox_core::{Access, Connector, Deadline, PublicKey, Result, Session, SessionSource, Uid};

use crate::options::SshOptions;
use crate::pool::PoolStatus;
use crate::session::{Instance, SshSession};

/// The longest interval between two rounds of [`Inner::reap`].
const MAX_REAP_INTERVAL: Duration = Duration::from_secs(10);

/// Sessions over SSH, with a pool of connections for each instance of a sandbox.
///
/// Connections are pooled by the instance's uid, the user and the pinned host key, never by
/// address: another server at the address of a sandbox that has ended gets none of its sessions.
/// Cheap to clone; all clones are one. Dropping the last one and its sessions closes the
/// connections.
#[derive(Clone)]
pub struct SshSessions(Arc<Inner>);

struct Inner {
    connector: Arc<dyn Connector>,
    options: SshOptions,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    instances: HashMap<Key, Arc<Instance>>,
    /// The task that closes unused connections runs.
    reaping: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    uid: Uid,
    user: String,
    host_key: PublicKey,
}

/// A snapshot of the connections to one instance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InstanceStatus {
    /// The instance's uid.
    pub uid: Uid,
    /// The connections that commands share.
    pub commands: PoolStatus,
    /// The connections of streams, one each.
    pub streams: PoolStatus,
    /// The connections for files.
    pub files: PoolStatus,
}

impl SshSessions {
    /// Sessions over the streams that `connector` opens. Nothing is connected yet.
    pub fn new(connector: Arc<dyn Connector>, options: SshOptions) -> Self {
        Self(Arc::new(Inner {
            connector,
            options,
            state: Mutex::default(),
        }))
    }

    /// A snapshot of all connections.
    pub fn status(&self) -> Vec<InstanceStatus> {
        let snapshot = |(key, instance): (&Key, &Arc<Instance>)| {
            let [commands, streams, files] = instance.status();
            InstanceStatus {
                uid: key.uid.clone(),
                commands,
                streams,
                files,
            }
        };
        self.0.lock().instances.iter().map(snapshot).collect()
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn instance(self: &Arc<Self>, access: &Arc<Access>) -> Result<Arc<Instance>> {
        let key = Key {
            uid: access.uid.clone(),
            user: access.user.clone(),
            host_key: access.host_key.clone(),
        };
        let mut state = self.lock();
        if !state.reaping {
            state.reaping = true;
            let interval =
                (self.options.idle_timeout / 2).clamp(Duration::from_millis(10), MAX_REAP_INTERVAL);
            tokio::spawn(reap_regularly(Arc::downgrade(self), interval));
        }
        if let Some(instance) = state.instances.get(&key) {
            instance.set_access(access);
            return Ok(Arc::clone(instance));
        }
        let instance = Arc::new(Instance::new(
            Arc::clone(&self.connector),
            Arc::clone(access),
            &self.options,
        )?);
        state.instances.insert(key, Arc::clone(&instance));
        Ok(instance)
    }

    /// Closes connections that are not needed any more, and forgets instances without connections.
    fn reap(&self) {
        let instances: Vec<_> = self.lock().instances.values().cloned().collect();
        for instance in instances {
            instance.reap(&self.options);
        }
        let unused = |_: &Key, instance: &mut Arc<Instance>| {
            Arc::strong_count(instance) == 1 && !instance.has_connections()
        };
        let removed: Vec<_> = self.lock().instances.extract_if(unused).collect();
        drop(removed);
    }
}

async fn reap_regularly(inner: Weak<Inner>, interval: Duration) {
    loop {
        tokio::time::sleep(interval).await;
        match inner.upgrade() {
            Some(inner) => inner.reap(),
            None => return,
        }
    }
}

#[async_trait]
impl SessionSource for SshSessions {
    async fn session(&self, access: Arc<Access>, deadline: Deadline) -> Result<Arc<dyn Session>> {
        let instance = self.0.instance(&access)?;
        instance
            .ensure(deadline)
            .await
            .map_err(|error| error.with_sandbox(&access.id))?;
        Ok(Arc::new(SshSession(instance)))
    }

    async fn evict(&self, uid: &Uid) {
        let evicted: Vec<_> = self
            .0
            .lock()
            .instances
            .extract_if(|key, _| key.uid == *uid)
            .collect();
        for (_, instance) in evicted {
            instance.close();
        }
    }

    async fn settle(&self) {
        let instances: Vec<_> = self.0.lock().instances.values().cloned().collect();
        join_all(instances.iter().map(|instance| instance.settle())).await;
    }
}

impl std::fmt::Debug for SshSessions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SshSessions")
            .field("connector", &self.0.connector)
            .field("instances", &self.0.lock().instances.len())
            .finish_non_exhaustive()
    }
}
