//! The host key of an image's SSH server.
//!
//! The key exists only once the server runs, so the client fetches it once and pins it. It does so through the
//! API server, which has a known certificate and finds the Pod by name; on the Pod network, another server
//! might respond.
//!
//! For a detached sandbox, the key is stored in an annotation of the Pod, for other clients that attach (the
//! Secret with the keys is immutable). An account that may write Pods could forge the annotation, but gains
//! nothing by that alone: clients then reject the real server, and to be accepted, the forger would also have
//! to respond at the Pod's address. Such an account could as well replace the image of the Pod.

use std::time::Duration;

use sandbox_core::{Deadline, Error, HostKeyProbe, PublicKey, Result, SandboxState};

use tokio::time::Instant;

use super::records::SandboxRecord;
use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::connect::no_answer_error;
use crate::names;
use crate::observe::status::{PodView, managed_view};

/// Timeout of the whole fetch, including the start of the Pod.
const FETCH_TIMEOUT: Duration = Duration::from_secs(300);
/// Timeout of one handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);
/// The pause between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// Returns the host key of a sandbox with an image's SSH server, and pins it.
pub(super) async fn fetch_and_pin(
    shared: &Shared,
    view: &PodView,
    record: &SandboxRecord,
) -> Result<PublicKey> {
    if let Some(key) = view.host_key.as_deref().and_then(|text| text.parse().ok()) {
        return Ok(shared.records.pin(&view.uid, key));
    }
    let probe = shared.host_key_probe()?;
    let deadline = Deadline::from_now(FETCH_TIMEOUT);
    let fetched = deadline
        .bound(
            "fetching the host key",
            fetch(shared, view, probe, deadline),
        )
        .await?;
    let key = shared.records.pin(&view.uid, fetched);
    if record.is_detached {
        annotate(shared, view, &key).await;
    }
    Ok(key)
}

async fn fetch(
    shared: &Shared,
    view: &PodView,
    probe: &dyn HostKeyProbe,
    deadline: Deadline,
) -> Result<PublicKey> {
    let connector = shared.connector();
    let follow = shared.watch.follow(&view.id, &view.uid);
    let grace = shared.options.startup_grace;
    let mut running: Option<Instant> = None;
    loop {
        let attempt = async {
            let stream = connector
                .open_via_api_server(&view.id, &view.uid, view.port)
                .await?;
            probe
                .host_key(stream, Deadline::from_now(HANDSHAKE_TIMEOUT).min(deadline))
                .await
        };
        let error = match attempt.await {
            Ok(key) => {
                // The key may come from another Pod of the same name.
                return match follow.next(None).await? {
                    Some(view) if view.state != SandboxState::Ended => Ok(key),
                    _ => Err(Error::NotFound {
                        id: view.id.clone(),
                    }),
                };
            }
            Err(error) => error,
        };
        let state = follow
            .next(None)
            .await?
            .map_or(SandboxState::Ended, |view| view.state);
        if state == SandboxState::Ended || !error.is_unreachable() {
            return Err(error);
        }
        if state == SandboxState::Running
            && running.get_or_insert_with(Instant::now).elapsed() >= grace
        {
            return Err(no_answer_error(view.port, grace, error));
        }
        tracing::debug!(sandbox.id = %view.id, %error, "host key not available yet; retrying");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Stores the key for other clients. Without the annotation they fetch the key themselves.
async fn annotate(shared: &Shared, view: &PodView, key: &PublicKey) {
    let annotation = (names::HOST_KEY, key.as_str());
    match shared
        .api()
        .annotate(
            &view.id,
            &view.uid,
            annotation,
            Deadline::from_now(LOOKUP_TIMEOUT),
        )
        .await
    {
        Ok(changed) => {
            if let Some(view) = changed.and_then(|pod| managed_view(&pod)) {
                shared.watch.record_write(view);
            }
        }
        Err(error) => {
            tracing::warn!(
                sandbox.id = %view.id, %error,
                "host key not stored; other clients have to fetch it themselves"
            );
        }
    }
}
