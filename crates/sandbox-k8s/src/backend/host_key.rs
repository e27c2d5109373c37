//! The host key of an image's own SSH server. Nobody knows it before the server runs, so it is
//! learned once: through the API server, whose certificate is known and which names the Pod,
//! never over the Pod network, where somebody else might answer. From then on it is pinned.
//!
//! A detached sandbox keeps it in an annotation of its Pod, which goes with the Pod's uid, for
//! whoever takes it up (the Secret with its keys cannot be changed). Who may write Pods might
//! forge it, and gains nothing by that alone: a forged key is refused by the real server's
//! clients, and to be believed the forger would also have to answer at the Pod's address. Such a
//! person could as well have replaced the Pod's image.

use std::time::Duration;

use sandbox_core::{Deadline, Error, HostKeyProbe, PublicKey, Result, SandboxState};

use tokio::time::Instant;

use super::records::SandboxRecord;
use super::shared::Shared;
use crate::api::client::LOOKUP_TIMEOUT;
use crate::connect::no_answer_error;
use crate::names;
use crate::observe::status::{PodView, managed_view};

/// How long the server may take to show its key, its Pod's start included.
const LEARN: Duration = Duration::from_secs(300);
/// How long one attempt may take once something answers.
const ANSWER: Duration = Duration::from_secs(15);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(100);

/// The key to pin for a sandbox whose server has its own.
pub(super) async fn of(
    shared: &Shared,
    view: &PodView,
    known: &SandboxRecord,
) -> Result<PublicKey> {
    if let Some(key) = view.host_key.as_deref().and_then(|text| text.parse().ok()) {
        return Ok(shared.known.pin(&view.uid, key));
    }
    let probe = shared.probe()?;
    let deadline = Deadline::from_now(LEARN);
    let learned = deadline
        .bound(
            "learning the host key",
            learn(shared, view, probe, deadline),
        )
        .await?;
    let key = shared.known.pin(&view.uid, learned);
    if known.detached {
        keep(shared, view, &key).await;
    }
    Ok(key)
}

async fn learn(
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
        let answer = async {
            let stream = connector
                .open_via_api_server(&view.id, &view.uid, view.port)
                .await?;
            probe
                .host_key(stream, Deadline::from_now(ANSWER).min(deadline))
                .await
        };
        let error = match answer.await {
            Ok(key) => {
                // Another Pod of the name is not what was asked.
                return match follow.next(None).await? {
                    Some(now) if now.state != SandboxState::Ended => Ok(key),
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
            .map_or(SandboxState::Ended, |now| now.state);
        if state == SandboxState::Ended || !error.is_unreachable() {
            return Err(error);
        }
        if state == SandboxState::Running
            && running.get_or_insert_with(Instant::now).elapsed() >= grace
        {
            return Err(no_answer_error(view.port, grace, error));
        }
        tracing::debug!(sandbox.id = %view.id, %error, "its SSH server does not show its key yet");
        tokio::time::sleep(PAUSE).await;
    }
}

/// For others; without it they learn it themselves.
async fn keep(shared: &Shared, view: &PodView, key: &PublicKey) {
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
                shared.watch.wrote(view);
            }
        }
        Err(error) => {
            tracing::warn!(
                sandbox.id = %view.id, %error,
                "its host key could not be kept for others, who have to learn it themselves"
            );
        }
    }
}
