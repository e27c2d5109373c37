//! The sessions of clients over HTTP, which come and go.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::join_all;

use super::Session;
use crate::sync::lock;

/// The sessions that are open, by name.
#[derive(Default)]
pub(crate) struct Registry(Mutex<BTreeMap<String, Arc<Session>>>);

impl Registry {
    pub(crate) fn insert(&self, session: &Arc<Session>) {
        lock(&self.0).insert(session.name().to_owned(), Arc::clone(session));
    }

    pub(crate) fn remove(&self, session: &Session) {
        lock(&self.0).remove(session.name());
    }

    /// Ends all sessions.
    pub(crate) async fn close_all(&self) {
        let sessions = std::mem::take(&mut *lock(&self.0));
        join_all(sessions.values().map(|session| session.close())).await;
    }
}
