//! Sandboxes that traffic is for, resumed if they are paused and traffic may do that.

use std::time::SystemTime;

use sandbox::Sandbox;

use crate::sandboxes::{Found, Sandboxes};

/// Returns a handle on a sandbox that runs. One that is paused is resumed first, if it was created so; otherwise it stays
/// paused, and there is `None`.
///
/// # Errors
///
/// [`sandbox::Error::NotFound`] if it has ended; those of connecting to it and of resuming it.
pub(crate) async fn open_awake(
    sandboxes: &Sandboxes,
    found: &Found,
) -> sandbox::Result<Option<Sandbox>> {
    let is_paused = found.info.is_paused(SystemTime::now());
    let may_resume = found
        .record
        .as_ref()
        .is_some_and(|record| record.lifecycle.auto_resume);
    if is_paused && !may_resume {
        return Ok(None);
    }
    let sandbox = sandboxes.open(found).await?;
    // Another request may have been first, which changes nothing.
    if is_paused && sandbox.resume(None).await? {
        tracing::info!(id = %found.info.id, "sandbox resumed by traffic");
    }
    Ok(Some(sandbox))
}
