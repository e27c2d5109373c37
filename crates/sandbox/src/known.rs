//! The sandboxes that a client has met.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError, Weak};

use sandbox_core::{SandboxId, Uid};

use crate::Sandbox;
use crate::handle::Inner;

/// The sandboxes that a client has met: asked for by id, they need no second look-up.
#[derive(Default)]
pub(crate) struct Known(Mutex<HashMap<SandboxId, Entry>>);

enum Entry {
    /// Somebody else has a handle; when the last is dropped, so is this.
    Seen(Weak<Inner>),
    /// Created or used by id, so that nobody else has a handle: alive as long as the client.
    Held(Sandbox),
}

impl Known {
    pub(crate) fn get(&self, id: &SandboxId) -> Option<Sandbox> {
        match self.lock().get(id)? {
            Entry::Seen(weak) => weak.upgrade().map(Sandbox::from_inner),
            Entry::Held(sandbox) => Some(sandbox.clone()),
        }
    }

    /// Remembers a sandbox while somebody has a handle of it.
    pub(crate) fn see(&self, sandbox: &Sandbox) {
        let mut entries = self.lock();
        entries.retain(|_, entry| !matches!(entry, Entry::Seen(weak) if weak.strong_count() == 0));
        entries.insert(sandbox.id().clone(), Entry::Seen(sandbox.downgrade()));
    }

    /// Remembers a sandbox, and holds it, until it is deleted.
    pub(crate) fn hold(&self, sandbox: &Sandbox) {
        self.lock()
            .insert(sandbox.id().clone(), Entry::Held(sandbox.clone()));
    }

    /// Forgets this instance; a newer one under the same id stays.
    pub(crate) fn forget(&self, id: &SandboxId, uid: &Uid) {
        let mut entries = self.lock();
        let same = match entries.get(id) {
            Some(Entry::Seen(weak)) => weak.upgrade().is_none_or(|inner| inner.info.uid == *uid),
            Some(Entry::Held(sandbox)) => sandbox.uid() == uid,
            None => false,
        };
        let forgotten = if same { entries.remove(id) } else { None };
        drop(entries);
        // Dropping a handle may take the lock again.
        drop(forgotten);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Entry>> {
        // The map is whole after every statement that holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
