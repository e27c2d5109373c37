//! The handles of a client, by the id of their sandbox.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, Weak};

use sandbox_core::{Access, Env, SandboxId, SandboxInfo, Session, Uid};

use super::egress::EgressProxy;
use super::{Inner, Sandbox};
use crate::parts::Parts;
use crate::sync::lock;

/// Creates the handles of a client, and caches them by id.
pub(crate) struct HandleCache {
    parts: Arc<Parts>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    entries: HashMap<SandboxId, Entry>,
    /// The number of entries after the last eviction.
    len_after_eviction: usize,
}

/// The number of entries below which none is evicted.
const EVICTION_THRESHOLD: usize = 64;

enum Entry {
    /// Callers have the handles; this entry ends with the last of them.
    Weak(Weak<Inner>),
    /// The sandbox was created or used by id, so that no caller has a handle. The entry keeps it
    /// attached until it is deleted or the client is dropped.
    Strong(Sandbox),
}

impl HandleCache {
    pub(crate) fn new(parts: Arc<Parts>) -> Arc<Self> {
        Arc::new(Self {
            parts,
            state: Mutex::default(),
        })
    }

    /// Creates a handle, and caches it while callers hold it.
    pub(crate) fn open(
        self: &Arc<Self>,
        info: SandboxInfo,
        access: Arc<Access>,
        session: Arc<dyn Session>,
        env: Env,
        egress: Option<EgressProxy>,
    ) -> Sandbox {
        let cache = Arc::downgrade(self);
        let id = info.id.clone();
        let uid = info.uid.clone();
        let on_end = move || {
            if let Some(cache) = cache.upgrade() {
                cache.remove(&id, &uid);
            }
        };
        let parts = Arc::clone(&self.parts);
        let sandbox = Sandbox::new(parts, info, access, session, env, egress, Box::new(on_end));
        self.insert_weak(&sandbox);
        sandbox
    }

    pub(crate) fn get(&self, id: &SandboxId) -> Option<Sandbox> {
        match lock(&self.state).entries.get(id)? {
            Entry::Weak(inner) => inner.upgrade().map(Sandbox::from_inner),
            Entry::Strong(sandbox) => Some(sandbox.clone()),
        }
    }

    /// Holds a handle until its sandbox is deleted.
    pub(crate) fn insert_strong(&self, sandbox: &Sandbox) {
        let entry = Entry::Strong(sandbox.clone());
        lock(&self.state)
            .entries
            .insert(sandbox.id().clone(), entry);
    }

    /// Whenever the number of entries has doubled, those without handles are evicted.
    fn insert_weak(&self, sandbox: &Sandbox) {
        let mut state = lock(&self.state);
        let entry = Entry::Weak(sandbox.downgrade());
        state.entries.insert(sandbox.id().clone(), entry);
        if state.entries.len() < EVICTION_THRESHOLD.max(2 * state.len_after_eviction) {
            return;
        }
        state
            .entries
            .retain(|_, entry| !matches!(entry, Entry::Weak(inner) if inner.strong_count() == 0));
        state.len_after_eviction = state.entries.len();
    }

    /// Removes the handle of this instance. One of a newer instance under the same id stays.
    fn remove(&self, id: &SandboxId, uid: &Uid) {
        let mut state = lock(&self.state);
        let is_same = match state.entries.get(id) {
            Some(Entry::Weak(inner)) => inner.upgrade().is_none_or(|inner| inner.info.uid == *uid),
            Some(Entry::Strong(sandbox)) => sandbox.uid() == uid,
            None => false,
        };
        let removed = if is_same {
            state.entries.remove(id)
        } else {
            None
        };
        drop(state);
        // Dropping a handle may lock the entries again.
        drop(removed);
    }
}
