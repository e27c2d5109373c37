//! Whose sandbox it is: the keys that log in, the open connections, and the one claim that replaces
//! both.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use russh::keys::PublicKey;
use sandbox_core::protocol::ClaimRefusal;
use tokio_util::sync::CancellationToken;

use super::keys::AuthorizedKeys;
use crate::lock::lock;

/// Who may log in, and all connections, also those that have not authenticated.
///
/// Both are behind one lock: a connection that is being authenticated while the sandbox is claimed is
/// either closed by the claim, or checked against the new key.
pub(crate) struct Owner(Mutex<State>);

struct State {
    keys: AuthorizedKeys,
    claim: Claim,
    next_id: u64,
    /// What closes each connection.
    connections: HashMap<u64, CancellationToken>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Claim {
    Impossible,
    Possible,
    Made,
}

/// One connection. Dropping it takes the connection off the list.
pub(crate) struct OpenConnection {
    owner: Arc<Owner>,
    id: u64,
    kill: CancellationToken,
}

impl Owner {
    pub(crate) fn new(keys: AuthorizedKeys, is_claimable: bool) -> Arc<Self> {
        let claim = if is_claimable {
            Claim::Possible
        } else {
            Claim::Impossible
        };
        Arc::new(Self(Mutex::new(State {
            keys,
            claim,
            next_id: 0,
            connections: HashMap::new(),
        })))
    }

    /// Whether the owner of this key may log in.
    pub(crate) fn accepts(&self, key: &PublicKey) -> bool {
        lock(&self.0).keys.contains(key)
    }

    /// Adds a connection, which `kill` closes.
    pub(crate) fn add_connection(self: &Arc<Self>, kill: CancellationToken) -> Arc<OpenConnection> {
        let mut state = lock(&self.0);
        let id = state.next_id;
        state.next_id += 1;
        state.connections.insert(id, kill.clone());
        Arc::new(OpenConnection {
            owner: Arc::clone(self),
            id,
            kill,
        })
    }
}

impl OpenConnection {
    /// Whether the connection was closed by this side. What the client sent before may still arrive.
    pub(crate) fn is_closed(&self) -> bool {
        self.kill.is_cancelled()
    }

    /// Makes this the only key that logs in, and closes every other connection. Of several claims
    /// exactly one succeeds, because the first closes the connections of the others.
    ///
    /// # Errors
    ///
    /// Why the claim is refused. Nothing has changed then.
    pub(crate) fn claim(&self, key: &PublicKey) -> Result<(), ClaimRefusal> {
        let mut state = lock(&self.owner.0);
        match state.claim {
            Claim::Impossible => return Err(ClaimRefusal::NotClaimable),
            Claim::Made => return Err(ClaimRefusal::AlreadyClaimed),
            // With a former key, others could log in after the claim.
            Claim::Possible if state.keys.contains(key) => return Err(ClaimRefusal::Malformed),
            Claim::Possible => {}
        }
        state.claim = Claim::Made;
        state.keys = AuthorizedKeys::from_key(key);
        for (_, kill) in state.connections.extract_if(|id, _| *id != self.id) {
            kill.cancel();
        }
        Ok(())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        lock(&self.owner.0).connections.remove(&self.id);
    }
}

impl fmt::Debug for OpenConnection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("OpenConnection").field(&self.id).finish()
    }
}
