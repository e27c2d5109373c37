//! Requests about the sandbox as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use sandbox_core::FilePath;
use sandbox_core::guest::{Refusal, RefusalCode, SandboxRequest};

use super::client::Client;
use super::threads::run_blocking;
use super::{Guest, Stop, unsupported};
use crate::process::program::default_environment;
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
            let resumed = pauser.resume(ttl_seconds.map(Duration::from_secs)).await;
            resumed.map_err(refusal)?
        }
        SandboxRequest::State => pauser.state().await,
        SandboxRequest::SetOnExpiry { on_expiry } => {
            pauser.set_on_expiry(on_expiry);
            pauser.state().await
        }
        SandboxRequest::Usage => return send_usage(client, guest).await,
        SandboxRequest::Environment => return send_environment(client, guest).await,
        _ => return Err(unsupported()),
    };
    client.send(&state).await
}

async fn send_usage(client: &Client<'_>, guest: &Guest) -> Result<(), Stop> {
    let meter = Arc::clone(&guest.usage);
    let waiting = Arc::clone(&meter);
    let wait_time = run_blocking(move || Ok(waiting.wait_time())).await?;
    tokio::time::sleep(wait_time).await;
    let usage = run_blocking(move || Ok(meter.measure())).await?;
    client.send(&usage).await
}

async fn send_environment(client: &Client<'_>, guest: &Guest) -> Result<(), Stop> {
    let config = Arc::clone(&guest.config);
    let variables = run_blocking(move || Ok(default_environment(&config))).await?;
    let variables: BTreeMap<FilePath, FilePath> = variables
        .into_iter()
        .map(|(name, value)| (name.into(), value.into()))
        .collect();
    client.send(&variables).await
}

fn refusal(error: StopError) -> Refusal {
    let code = match error {
        StopError::NoListing | StopError::Embedded => RefusalCode::Unsupported,
        StopError::Forbidden(_) => RefusalCode::PermissionDenied,
        StopError::TooFast(_) => RefusalCode::LimitReached,
        StopError::NotContinued(_) | StopError::Interrupted => RefusalCode::Other,
    };
    Refusal::new(code, error.to_string())
}
