//! Helpers that several modules of cases share.

use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures_util::FutureExt;
use sandbox::{Error, Sandbox, SandboxId, TransferReason};

use crate::case::{Outcome, TestedBackend};

/// Creates a sandbox for one case, and deletes it even if the case fails or panics.
pub(crate) async fn with_sandbox<W>(
    backend: TestedBackend,
    work: impl FnOnce(Sandbox) -> W,
) -> Outcome
where
    W: Future<Output = Outcome>,
{
    let sbx = backend.sandbox().create().await?;
    let outcome = AssertUnwindSafe(work(sbx.clone())).catch_unwind().await;
    sbx.delete().await?;
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// The reason of a failed transfer.
pub(crate) fn transfer_reason<T: Debug>(result: sandbox::Result<T>) -> TransferReason {
    match result.unwrap_err() {
        Error::Transfer(error) => error.reason,
        other => panic!("not a transfer: {other}"),
    }
}

/// Waits until no process of that name is left. After a hangup, a process group may use its grace
/// period.
pub(crate) async fn wait_until_no_process(sbx: &Sandbox, name: &str) -> Outcome {
    let search = format!(
        "for p in /proc/[0-9]*; do \
         [ \"$(cat $p/comm 2>/dev/null)\" = {name} ] && exit 1; done; exit 0"
    );
    for _ in 0..100 {
        if sbx.shell(&search).status().await?.success() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("a process {name} is left").into())
}

/// Content in which no two blocks are equal.
pub(crate) fn patterned_content(length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| (index * 7 + index / 251) as u8)
        .collect()
}

/// Waits until a sandbox has ended and is no longer found.
pub(crate) async fn wait_until_deleted(backend: &TestedBackend, id: &SandboxId) -> Outcome {
    for _ in 0..900 {
        if matches!(
            backend.get_sandbox_info(id).await,
            Err(Error::NotFound { .. })
        ) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Err(format!("{id} was not deleted").into())
}
