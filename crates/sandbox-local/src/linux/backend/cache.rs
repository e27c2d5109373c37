//! Caches the sandboxes that a client has created or used, for a diagnosis after their end.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use sandbox_core::protocol::EndReason;
use sandbox_core::{EndCause, SandboxEnd, SandboxId, SandboxInfo, TrackedWork};
use tokio::process::Child;
use tokio::sync::watch;

use crate::linux::supervisor::FAILED_WITHOUT_MEMORY;

/// How long after its end a sandbox can still be diagnosed.
const DIAGNOSIS_WINDOW: Duration = Duration::from_secs(600);
/// How long a diagnosis waits for the exit code of a supervisor, whose sandbox has ended.
const END_REPORT_TIMEOUT: Duration = Duration::from_secs(1);

/// The sandboxes that were created or used through one backend.
#[derive(Debug, Default)]
pub(super) struct SandboxCache {
    sandboxes: Mutex<HashMap<SandboxId, Cached>>,
}

#[derive(Debug)]
struct Cached {
    info: SandboxInfo,
    /// Receives why the sandbox has ended, if its supervisor is a child of this process.
    end: Option<EndReceiver>,
}

/// Receives why a sandbox has ended.
pub(super) type EndReceiver = watch::Receiver<Option<SandboxEnd>>;

/// Why a sandbox has ended, as far as its client knows.
#[derive(Debug, Clone)]
pub(super) struct KnownEnd {
    pub(super) info: SandboxInfo,
    pub(super) end: Option<SandboxEnd>,
}

impl SandboxCache {
    /// Remembers a sandbox. What is known about the end of the same instance is kept.
    pub(super) fn insert(&self, info: &SandboxInfo) {
        let mut sandboxes = self.lock();
        let oldest_end = SystemTime::now().checked_sub(DIAGNOSIS_WINDOW);
        sandboxes.retain(|_, cached| {
            cached
                .info
                .expires_at
                .zip(oldest_end)
                .is_none_or(|(end, oldest_end)| end > oldest_end)
        });
        let before = sandboxes.remove(&info.id);
        let end = before
            .filter(|before| before.info.uid == info.uid)
            .and_then(|before| before.end);
        let info = info.clone();
        sandboxes.insert(info.id.clone(), Cached { info, end });
    }

    /// Remembers a new sandbox, whose supervisor is a child of this process.
    pub(super) fn insert_created(&self, info: &SandboxInfo, end: EndReceiver) {
        self.insert(info);
        if let Some(cached) = self.lock().get_mut(&info.id) {
            cached.end = Some(end);
        }
    }

    pub(super) fn remove(&self, id: &SandboxId) {
        self.lock().remove(id);
    }

    /// Returns what is known about a sandbox that has ended; `None` if nothing is.
    pub(super) async fn find_end(&self, id: &SandboxId) -> Option<KnownEnd> {
        let (info, receiver) = {
            let sandboxes = self.lock();
            let cached = sandboxes.get(id)?;
            (cached.info.clone(), cached.end.clone())
        };
        let end = match receiver {
            Some(mut receiver) => {
                let reported = receiver.wait_for(Option::is_some);
                match tokio::time::timeout(END_REPORT_TIMEOUT, reported).await {
                    Ok(Ok(end)) => end.clone(),
                    Ok(Err(_)) | Err(_) => None,
                }
            }
            None => None,
        };
        Some(KnownEnd { info, end })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<SandboxId, Cached>> {
        self.sandboxes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Waits in the background for the end of a supervisor, which has then removed everything: it is a child of this process,
/// which has to wait for it.
pub(super) fn watch_end(mut supervisor: Child, supervision: TrackedWork) -> EndReceiver {
    let (sender, end) = watch::channel(None);
    tokio::spawn(async move {
        let status = supervisor.wait().await;
        let code = status.ok().and_then(|status| status.code());
        // Without a receiver, no caller asks why the sandbox has ended.
        drop(sender.send(Some(describe_exit(code))));
        drop(supervision);
    });
    end
}

/// Describes the end of a sandbox by the exit code of its supervisor, which is of the same version.
fn describe_exit(code: Option<i32>) -> SandboxEnd {
    let reason = code.and_then(|code| EndReason::from_exit(code, EndReason::Expired.message()));
    match reason {
        Some(EndReason::Terminated) => SandboxEnd::new(EndCause::Deleted, "it was deleted"),
        Some(reason) => SandboxEnd::new(reason.into(), reason.message()),
        None if code == Some(i32::from(FAILED_WITHOUT_MEMORY)) => {
            let message = "its server ended after memory ran out: raise the memory limit";
            SandboxEnd::new(EndCause::Failed, message)
        }
        None => SandboxEnd::new(EndCause::Failed, "its server crashed or was killed"),
    }
}
