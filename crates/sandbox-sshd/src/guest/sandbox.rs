//! Requests about the sandbox as a whole.

use sandbox_core::guest::SandboxRequest;

use super::client::Client;
use super::{Guest, Stop, unsupported};

/// Carries out a request.
pub(super) async fn serve(
    request: SandboxRequest,
    _client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    tracing::debug!(?request, home = ?guest.home, "request not known");
    Err(unsupported())
}
