//! What is done while the backend does not respond, as a cluster without its API server.
//!
//! The SDK tries again for up to a minute. Clients of E2B give up after that minute, so they are refused before.

use std::sync::Mutex;
use std::time::Duration;

use sandbox::{Error, Result, SandboxId};
use tokio::time::{Instant, sleep, timeout};

use super::creation::new_id;
use super::{Found, Sandboxes, lock};

/// How long a lookup may take.
const LOOKUP_LIMIT: Duration = Duration::from_secs(12);
/// How long traffic to a sandbox that was used before waits for a lookup. A cluster's sandboxes are in memory while its
/// API server responds.
const TRAFFIC_WAIT: Duration = Duration::from_secs(1);
/// How long traffic does not wait again after that.
const OUTAGE_MEMORY: Duration = Duration::from_secs(5);
/// How long an operation takes before the backend is asked whether it responds.
const CHECK_AFTER: Duration = Duration::from_secs(8);
/// How long the backend may then take.
const CHECK_LIMIT: Duration = Duration::from_secs(5);

/// When the backend last did not respond.
#[derive(Debug, Default)]
pub(super) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    fn record(&self) {
        *lock(&self.0) = Some(Instant::now());
    }

    fn is_recent(&self) -> bool {
        lock(&self.0).is_some_and(|last| last.elapsed() < OUTAGE_MEMORY)
    }
}

impl Sandboxes {
    /// Finds a sandbox for traffic to it. While the backend does not respond, one that was used before is taken to be as
    /// the backend described it last: it runs whether or not the API server of its cluster does, its handle reaches no
    /// other instance, and its owner never changes.
    ///
    /// # Errors
    ///
    /// As [`find`](Self::find).
    pub(crate) async fn find_for_traffic(&self, id: &SandboxId) -> Result<Found> {
        if self.outage.is_recent()
            && let Some(found) = self.last_description(id)
        {
            return Ok(found);
        }
        let lookup = self.find(id);
        tokio::pin!(lookup);
        let found = match timeout(TRAFFIC_WAIT, lookup.as_mut()).await {
            Ok(found) => found,
            Err(_elapsed) => match self.last_description(id) {
                Some(found) => {
                    self.outage.record();
                    return Ok(found);
                }
                None => lookup.await,
            },
        };
        match found {
            Err(error) if error.is_retryable() => {
                self.outage.record();
                self.last_description(id).ok_or(error)
            }
            found => found,
        }
    }

    /// A sandbox that was used, as the backend described it last.
    fn last_description(&self, id: &SandboxId) -> Option<Found> {
        let info = lock(&self.used)
            .values()
            .map(|used| &used.info)
            .filter(|info| &info.id == id)
            // The id may have been reused.
            .max_by_key(|info| info.created_at)
            .cloned()?;
        tracing::debug!(%id, "the backend does not respond; the last description of the sandbox is used");
        Some(self.describe(info))
    }

    /// Carries out a lookup, for as long as a client waits.
    pub(super) async fn limit_lookup<T>(
        &self,
        operation: &'static str,
        lookup: impl Future<Output = Result<T>>,
    ) -> Result<T> {
        match timeout(LOOKUP_LIMIT, lookup).await {
            Ok(result) => result,
            Err(_elapsed) => Err(self.absence(operation)),
        }
    }

    /// Resolves if an operation takes long and the backend does not respond. An operation that takes long because an
    /// image is pulled, for example, is left alone.
    pub(crate) async fn detect_absence(&self, operation: &'static str) -> Error {
        sleep(CHECK_AFTER).await;
        let Ok(unused) = new_id() else {
            return std::future::pending().await;
        };
        // That there is no such sandbox is never answered from memory.
        match timeout(CHECK_LIMIT, self.client.connect(&unused)).await {
            Ok(Err(error)) if error.is_retryable() => self.absence(operation),
            Ok(_responded) => std::future::pending().await,
            Err(_elapsed) => self.absence(operation),
        }
    }

    fn absence(&self, operation: &'static str) -> Error {
        Error::Backend {
            backend: self.client.backend_name(),
            operation,
            message: "it does not respond; try again in a moment".to_owned(),
            transient: true,
            source: None,
        }
    }
}
