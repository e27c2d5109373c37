//! Requests about the sandbox as a whole.

use std::time::Duration;

use sandbox_core::guest::{Refusal, RefusalCode, SandboxRequest};

use super::client::Client;
use super::{Guest, Stop, unsupported};
use crate::process::stop::StopError;

/// Carries out a request.
pub(super) async fn serve(
    request: SandboxRequest,
    client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    let pauser = &guest.pauser;
    let state = match request {
        SandboxRequest::Pause => {
            let paused = pauser.pause().await;
            paused.map_err(refusal)?
        }
        SandboxRequest::Resume { ttl_seconds } => {
            pauser.resume(ttl_seconds.map(Duration::from_secs)).await
        }
        SandboxRequest::State => pauser.state().await,
        SandboxRequest::SetOnExpiry { on_expiry } => {
            pauser.set_on_expiry(on_expiry);
            pauser.state().await
        }
        SandboxRequest::Usage | SandboxRequest::Environment => return Err(unsupported()),
        _ => return Err(unsupported()),
    };
    client.send(&state).await
}

fn refusal(error: StopError) -> Refusal {
    let code = match error {
        StopError::NoListing | StopError::Embedded => RefusalCode::Unsupported,
        StopError::Forbidden(_) => RefusalCode::PermissionDenied,
        StopError::TooFast(_) => RefusalCode::LimitReached,
        StopError::Interrupted => RefusalCode::Other,
    };
    Refusal::new(code, error.to_string())
}
