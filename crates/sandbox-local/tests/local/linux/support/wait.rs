//! Waits for a condition.

use std::time::Duration;

use sandbox_core::Deadline;

use super::trial::Result;

/// How long a test waits for something that must happen, however slow the machine is.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a condition holds.
pub(crate) async fn wait_until(condition: &str, mut holds: impl FnMut() -> bool) -> Result {
    let deadline = Deadline::from_now(TIMEOUT);
    while !holds() {
        if deadline.has_passed() {
            return Err(format!("timed out waiting until {condition}").into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
