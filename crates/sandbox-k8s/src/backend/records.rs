//! Caches what the watch does not deliver about a sandbox: its keys and how its server was injected.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use sandbox_core::{PrivateKey, PublicKey, SandboxId, Uid};
use tokio::time::Instant;

use crate::lock::lock;
use crate::manifest::labels::SecretRef;
use crate::manifest::options::InjectVia;

/// Facts about one sandbox that this client created or used.
#[derive(Clone)]
pub(super) struct SandboxRecord {
    pub(super) id: SandboxId,
    /// Its Secret.
    pub(super) owner: SecretRef,
    /// `None` until the key of an image's SSH server has been fetched.
    pub(super) host_key: Option<PublicKey>,
    pub(super) client_key: PrivateKey,
    /// Whether other clients may attach to the sandbox.
    pub(super) is_detached: bool,
    /// The detected kind of injection.
    pub(super) via: Option<InjectVia>,
    /// Whether it is held while no node has room for it.
    pub(super) waits_for_room: bool,
    /// The claim that took it from its pool, if these are the keys of the claim.
    pub(super) claim: Option<String>,
}

/// The records of all sandboxes. Those of ended sandboxes are kept for a while, for their diagnosis.
#[derive(Default)]
pub(super) struct RecordCache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<Uid, (SandboxRecord, Instant)>,
    /// The instances of each id, the latest last.
    instances: HashMap<SandboxId, Vec<Uid>>,
    /// The number of records after the last eviction.
    size_after_eviction: usize,
}

/// How long the record of an ended sandbox is kept.
const KEEP_ENDED_FOR: Duration = Duration::from_secs(600);
/// The number of records below which none is evicted.
const EVICTION_THRESHOLD: usize = 64;

impl RecordCache {
    /// Stores the record of an instance. Whenever the number of records has doubled, those of sandboxes that
    /// have ended are evicted.
    pub(super) fn insert(&self, uid: Uid, record: SandboxRecord, has_ended: impl Fn(&Uid) -> bool) {
        let mut state = self.lock();
        state.remove(&uid);
        let instances = state.instances.entry(record.id.clone()).or_default();
        instances.push(uid.clone());
        state.sandboxes.insert(uid, (record, Instant::now()));
        if state.sandboxes.len() < EVICTION_THRESHOLD.max(state.size_after_eviction * 2) {
            return;
        }
        let is_evicted =
            |uid: &Uid, since: &Instant| since.elapsed() >= KEEP_ENDED_FOR && has_ended(uid);
        let evicted: Vec<_> = state
            .sandboxes
            .iter()
            .filter(|(uid, (_, since))| is_evicted(uid, since))
            .map(|(uid, _)| uid.clone())
            .collect();
        for uid in evicted {
            state.remove(&uid);
        }
        state.size_after_eviction = state.sandboxes.len();
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<SandboxRecord> {
        self.lock()
            .sandboxes
            .get(uid)
            .map(|(record, _)| record.clone())
    }

    /// Returns the latest record of this id.
    pub(super) fn find(&self, id: &SandboxId) -> Option<(Uid, SandboxRecord)> {
        let state = self.lock();
        let latest = state.instances.get(id)?.last()?;
        let (record, _) = state.sandboxes.get(latest)?;
        Some((latest.clone(), record.clone()))
    }

    /// Pins a host key for an instance, and returns the pinned key. An already pinned key is kept.
    pub(super) fn pin(&self, uid: &Uid, key: PublicKey) -> PublicKey {
        match self.lock().sandboxes.get_mut(uid) {
            Some((record, _)) => record.host_key.get_or_insert(key).clone(),
            None => key,
        }
    }

    pub(super) fn remove(&self, uid: &Uid) {
        self.lock().remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }
}

impl State {
    fn remove(&mut self, uid: &Uid) {
        let Some((record, _)) = self.sandboxes.remove(uid) else {
            return;
        };
        if let Some(instances) = self.instances.get_mut(&record.id) {
            instances.retain(|instance| instance != uid);
            if instances.is_empty() {
                self.instances.remove(&record.id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::labels::SecretName;
    use sandbox_core::KeyPair;

    fn record(id: &str) -> SandboxRecord {
        let keys = KeyPair::generate().unwrap();
        SandboxRecord {
            id: id.parse().unwrap(),
            owner: SecretRef {
                name: SecretName::new(&id.parse().unwrap(), "n"),
                uid: Uid::new("s"),
            },
            host_key: None,
            client_key: keys.private,
            is_detached: true,
            via: None,
            waits_for_room: false,
            claim: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn records_of_ended_sandboxes_are_evicted_after_a_while() {
        let all = RecordCache::default();
        let one = record("sbx-a");
        let has_ended = |uid: &Uid| uid.as_str().starts_with("ended");
        all.insert(Uid::new("running"), one.clone(), has_ended);
        for round in 0..20 {
            for number in 0..50 {
                all.insert(
                    Uid::new(format!("ended-{round}-{number}")),
                    one.clone(),
                    has_ended,
                );
            }
            tokio::time::advance(KEEP_ENDED_FOR).await;
        }
        assert!(
            all.lock().sandboxes.len() <= 2 * EVICTION_THRESHOLD,
            "{}",
            all.lock().sandboxes.len()
        );
        assert!(all.get(&Uid::new("running")).is_some());
        assert!(
            all.get(&Uid::new("ended-19-49")).is_some(),
            "a sandbox that has just ended can still be diagnosed"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_means_its_latest_instance() {
        let all = RecordCache::default();
        for uid in ["first", "second", "third"] {
            all.insert(Uid::new(uid), record("sbx-a"), |_| false);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(
            all.find(&"sbx-a".parse().unwrap()).unwrap().0.as_str(),
            "third"
        );
        all.remove(&Uid::new("third"));
        assert_eq!(
            all.find(&"sbx-a".parse().unwrap()).unwrap().0.as_str(),
            "second"
        );
        assert!(all.find(&"sbx-b".parse().unwrap()).is_none());
    }
}
