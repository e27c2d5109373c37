//! Requests about files.

use sandbox_core::guest::FileRequest;

use super::client::Client;
use super::{Guest, Stop, unsupported};

/// Carries out a request.
pub(super) async fn serve(
    request: FileRequest,
    _client: &mut Client<'_>,
    guest: &Guest,
) -> Result<(), Stop> {
    tracing::debug!(?request, home = ?guest.home, "request not known");
    Err(unsupported())
}
