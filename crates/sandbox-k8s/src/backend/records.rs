//! What no watch tells of the sandboxes that were made or used here.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sandbox_core::{PrivateKey, PublicKey, SandboxId, Uid};
use tokio::time::Instant;

use crate::manifest::options::InjectVia;

/// What no watch tells of a sandbox.
#[derive(Clone)]
pub(super) struct SandboxRecord {
    pub(super) id: SandboxId,
    /// The uid of its Secret.
    pub(super) owner: Uid,
    /// `None` while that of an image's own server was not learned.
    pub(super) host: Option<PublicKey>,
    pub(super) client: PrivateKey,
    /// Others may take it up.
    pub(super) detached: bool,
    /// Which way was found out for it to bring the server along.
    pub(super) via: Option<InjectVia>,
}

/// All of them, keys included. Those that are over are kept for a while, to tell what became of them.
#[derive(Default)]
pub(super) struct RecordCache {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    sandboxes: HashMap<Uid, (SandboxRecord, Instant)>,
    /// So many there were when it was last looked whether some can go.
    looked: usize,
}

/// How long one that is over is kept.
const KEPT: Duration = Duration::from_secs(600);
/// Fewer are not worth looking at.
const FEW: usize = 64;

impl RecordCache {
    /// Keeps what is known of an instance. `is_over` says of others whether they have ended: those go,
    /// each time that there are twice as many as before.
    pub(super) fn remember(&self, uid: Uid, known: SandboxRecord, is_over: impl Fn(&Uid) -> bool) {
        let mut state = self.lock();
        state.sandboxes.insert(uid, (known, Instant::now()));
        if state.sandboxes.len() < FEW.max(state.looked * 2) {
            return;
        }
        state
            .sandboxes
            .retain(|uid, (_, since)| since.elapsed() < KEPT || !is_over(uid));
        state.looked = state.sandboxes.len();
    }

    pub(super) fn get(&self, uid: &Uid) -> Option<SandboxRecord> {
        self.lock()
            .sandboxes
            .get(uid)
            .map(|(known, _)| known.clone())
    }

    /// The latest of this id.
    pub(super) fn of(&self, id: &SandboxId) -> Option<(Uid, SandboxRecord)> {
        let state = self.lock();
        let same = state
            .sandboxes
            .iter()
            .filter(|(_, (known, _))| known.id == *id);
        same.max_by_key(|(_, (_, since))| *since)
            .map(|(uid, (known, _))| (uid.clone(), known.clone()))
    }

    /// Pins a host key for an instance; one that was pinned stays.
    pub(super) fn pin(&self, uid: &Uid, key: PublicKey) -> PublicKey {
        match self.lock().sandboxes.get_mut(uid) {
            Some((known, _)) => known.host.get_or_insert(key).clone(),
            None => key,
        }
    }

    pub(super) fn forget(&self, uid: &Uid) {
        self.lock().sandboxes.remove(uid);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandbox_core::KeyPair;

    fn known(id: &str) -> SandboxRecord {
        let keys = KeyPair::generate().unwrap();
        SandboxRecord {
            id: id.parse().unwrap(),
            owner: Uid::new("s"),
            host: None,
            client: keys.private,
            detached: true,
            via: None,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_are_over_go_after_a_while_and_others_stay() {
        let all = RecordCache::default();
        let one = known("sbx-a");
        let is_over = |uid: &Uid| uid.as_str().starts_with("over");
        all.remember(Uid::new("stays"), one.clone(), is_over);
        for round in 0..20 {
            for number in 0..50 {
                all.remember(
                    Uid::new(format!("over-{round}-{number}")),
                    one.clone(),
                    is_over,
                );
            }
            tokio::time::advance(KEPT).await;
        }
        assert!(
            all.lock().sandboxes.len() <= 2 * FEW,
            "{}",
            all.lock().sandboxes.len()
        );
        assert!(all.get(&Uid::new("stays")).is_some());
        assert!(
            all.get(&Uid::new("over-19-49")).is_some(),
            "what has just ended can still be explained"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn an_id_means_whoever_had_it_last() {
        let all = RecordCache::default();
        for uid in ["first", "second", "third"] {
            all.remember(Uid::new(uid), known("sbx-a"), |_| false);
            tokio::time::advance(Duration::from_secs(1)).await;
        }
        assert_eq!(
            all.of(&"sbx-a".parse().unwrap()).unwrap().0.as_str(),
            "third"
        );
        all.forget(&Uid::new("third"));
        assert_eq!(
            all.of(&"sbx-a".parse().unwrap()).unwrap().0.as_str(),
            "second"
        );
        assert!(all.of(&"sbx-b".parse().unwrap()).is_none());
    }
}
