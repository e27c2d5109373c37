//! Work on files, on threads where it blocks nobody.

use sandbox_core::guest::{Refusal, RefusalCode};

use super::Stop;

/// Runs work that may block. If the future is dropped, the work continues to its end.
pub(super) async fn run_blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Stop> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(Stop::Refused(Refusal::new(
            RefusalCode::Other,
            format!("the server failed to carry this out: {error}; report it as a bug"),
        ))),
    }
}
