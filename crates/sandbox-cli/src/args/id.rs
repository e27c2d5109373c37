//! The argument `ID`: a whole id, or the beginning of a generated one.

use std::ffi::OsStr;

use anyhow::{Result, anyhow, bail};
use sandbox::{Client, Error, ListFilter, Sandbox, SandboxId};

/// How many candidates a message about an ambiguous id names.
const MAX_NAMED: usize = 5;

/// Finds the sandbox with this id, or the only one whose generated id begins with this text. Ids
/// that a user has chosen have to be complete: otherwise a second `sandbox rm plum` would delete
/// `plum-2`.
///
/// # Errors
///
/// If no sandbox matches, or more than one.
pub(crate) async fn resolve(client: &Client, text: &OsStr) -> Result<SandboxId> {
    match find_candidates(client, text).await?.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Error::NotFound { id: parse(text)? }.into()),
        several => {
            let names: Vec<&str> = several
                .iter()
                .take(MAX_NAMED)
                .map(SandboxId::as_str)
                .collect();
            let more = if several.len() > MAX_NAMED {
                ", …"
            } else {
                ""
            };
            bail!(
                "{:?} is ambiguous, {} ids begin with it: {}{more}; write more of the id",
                text.to_string_lossy(),
                several.len(),
                names.join(", ")
            )
        }
    }
}

/// Connects to the sandbox that [`resolve`] finds.
///
/// # Errors
///
/// As [`resolve`], and if the connection fails.
pub(crate) async fn connect(client: &Client, text: &OsStr) -> Result<Sandbox> {
    Ok(client.connect(&resolve(client, text).await?).await?)
}

/// Parses the id of an existing sandbox. Since no sandbox can have an invalid id, the message is
/// that there is no such sandbox.
///
/// # Errors
///
/// If the text is not a valid id.
pub(crate) fn parse(text: &OsStr) -> Result<SandboxId> {
    parse_id(text).map_err(|why| anyhow!("there is no sandbox {:?}: {why}", text.to_string_lossy()))
}

/// Parses the id that a user has chosen for a new sandbox.
///
/// # Errors
///
/// If the text is not a valid id.
pub(crate) fn parse_new(text: &OsStr) -> Result<SandboxId> {
    parse_id(text).map_err(|why| anyhow!("invalid --id {:?}: {why}", text.to_string_lossy()))
}

fn parse_id(text: &OsStr) -> Result<SandboxId, String> {
    match text.to_str().map(str::parse::<SandboxId>) {
        Some(Ok(id)) => Ok(id),
        Some(Err(Error::Invalid { reason, .. })) => Err(reason),
        Some(Err(error)) => Err(error.to_string()),
        None => Err("an id is plain text".to_owned()),
    }
}

async fn find_candidates(client: &Client, text: &OsStr) -> Result<Vec<SandboxId>> {
    let exact = parse(text);
    let prefix = text
        .to_str()
        .filter(|text| SandboxId::is_generated_prefix(text));
    match (exact, prefix) {
        // A whole generated id needs no list of all sandboxes.
        (Ok(id), _) if id.is_generated() => Ok(vec![id]),
        (exact, Some(prefix)) => {
            let listed = client.list(ListFilter::default()).await?;
            let ids: Vec<SandboxId> = listed.into_iter().map(|info| info.id).collect();
            if let Some(id) = exact.ok().filter(|id| ids.contains(id)) {
                return Ok(vec![id]);
            }
            let matches = |id: &SandboxId| id.is_generated() && id.as_str().starts_with(prefix);
            Ok(ids.into_iter().filter(matches).collect())
        }
        // Text that cannot be an id is probably a typo, and the error says what is wrong with it.
        (exact, None) => Ok(vec![exact?]),
    }
}
