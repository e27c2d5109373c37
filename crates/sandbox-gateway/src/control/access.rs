//! Which sandboxes a caller may see: those that its key owns. All others do not exist for it.

use sandbox::{Error, SandboxId, SandboxState};

use super::failure::describe;
use crate::api_error::ApiError;
use crate::app::App;
use crate::keys::Caller;
use crate::sandboxes::Owned;

/// Finds a sandbox of the caller by the id in a path.
pub(super) async fn find(app: &App, caller: &Caller, id: &str) -> Result<Owned, ApiError> {
    let missing = || ApiError::no_sandbox(id);
    let id: SandboxId = id.parse().map_err(|_invalid| missing())?;
    let found = match app.sandboxes.find(&id).await {
        Ok(found) => found,
        Err(Error::NotFound { .. }) => return Err(missing()),
        Err(error) => return Err(describe(&error)),
    };
    match found.record {
        Some(record) if record.owner == caller.name && found.info.state != SandboxState::Ended => {
            Ok(Owned {
                info: found.info,
                record,
            })
        }
        Some(_) | None => Err(missing()),
    }
}

/// Lists the sandboxes of the caller.
pub(super) async fn list(app: &App, caller: &Caller) -> Result<Vec<Owned>, ApiError> {
    let mut listed = app
        .sandboxes
        .list()
        .await
        .map_err(|error| describe(&error))?;
    listed.retain(|sandbox| sandbox.record.owner == caller.name);
    Ok(listed)
}
