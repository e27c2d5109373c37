//! Uploads the SSH server to new sandboxes, if they get it that way.

use std::sync::Arc;
use std::time::Duration;

use sandbox_core::{Lifetime, SandboxId, Uid};
use tokio::time::Instant;

use super::shared::Shared;

/// Time limit for a sandbox that waits for its first client without one.
const UPLOAD_TIMEOUT: Duration = Duration::from_secs(600);

/// Returns how long after its creation a sandbox may get its server. Nobody uses it if it has none by then.
pub(super) fn time_limit(lifetime: &Lifetime) -> Duration {
    let limit = lifetime.first_login_timeout.unwrap_or(UPLOAD_TIMEOUT);
    limit.min(lifetime.max_lifetime)
}

/// Uploads the server in the background, once the Pod runs. From now on, connections wait for it.
pub(super) fn start(
    shared: &Arc<Shared>,
    id: &SandboxId,
    uid: Uid,
    nonce: String,
    limit: Duration,
) {
    shared.connect_state.uploads.announce(&uid);
    let (shared, id) = (Arc::clone(shared), id.clone());
    let deadline = Instant::now() + limit;
    tokio::spawn(async move {
        let uploads = &shared.connect_state.uploads;
        uploads
            .run(&shared.watch, &id, &uid, &nonce, deadline)
            .await;
    });
}
