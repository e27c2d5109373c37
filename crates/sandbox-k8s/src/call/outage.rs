//! Whether the API server was away just now.
//!
//! One that comes back listens before its caches are filled: without roles it forbids everything
//! to everybody but its administrators, and while it cannot look an account up (its store is not
//! there yet, its OIDC provider was not asked yet) nobody is known to it. So for a while a 401 or
//! a 403 says nothing of our rights.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// For how long after it was away. `/readyz` waits for the roles of a server that starts, and is
/// well within this; a client without rights is told so much later.
const STARTS: Duration = Duration::from_secs(15);
/// The longest wait before it is asked again: it takes seconds, and not many.
pub(super) const SOON: Duration = Duration::from_secs(1);

/// When it last failed to answer.
#[derive(Debug, Default)]
pub(crate) struct Outage(Mutex<Option<Instant>>);

impl Outage {
    /// It has not answered, or a connection was cut.
    pub(crate) fn begins(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
    }

    /// What an answer says of it: failures in itself count as none at all.
    pub(super) fn hear(&self, code: Option<u16>) {
        if code.is_none_or(|code| code >= 500) {
            self.begins();
        }
    }

    /// Whether it may still be starting.
    pub(crate) fn is_recent(&self) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|last| last.elapsed() < STARTS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn it_is_remembered_for_a_while() {
        for (code, counts) in [
            (None, true),
            (Some(500), true),
            (Some(503), true),
            (Some(200), false),
            (Some(403), false),
            (Some(429), false),
        ] {
            let outage = Outage::default();
            assert!(!outage.is_recent());
            outage.hear(code);
            assert_eq!(outage.is_recent(), counts, "{code:?}");
            tokio::time::sleep(STARTS).await;
            assert!(!outage.is_recent());
        }
    }
}
