//! Requests about shared processes.

use sandbox_core::guest::ProcessRequest;

use super::client::Client;
use super::{Guest, Stop, unsupported};

/// Carries out a request.
pub(super) async fn serve(
    request: ProcessRequest,
    _client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    tracing::debug!(?request, home = ?guest.home, "request not known");
    Err(unsupported())
}
