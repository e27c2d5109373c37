//! Which sandbox somebody means.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use sandbox::{Client, Error, ListFilter, Sandbox, SandboxId};

use crate::options::sandbox_id;

/// The form of the ids that are given when nobody chooses one.
const GENERATED: (&str, usize) = ("sbx-", 14);
/// Candidates that are named.
const NAMED: usize = 5;

/// The sandbox of this id, or the only one whose id begins so.
///
/// # Errors
///
/// When there is none, or more than one.
pub(crate) async fn find(client: &Client, text: &OsStr) -> Result<SandboxId> {
    match candidates(client, text).await?.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Error::NotFound { id: sandbox_id(text)? }.into()),
        several => {
            let names: Vec<&str> = several.iter().take(NAMED).map(SandboxId::as_str).collect();
            let more = if several.len() > NAMED { ", …" } else { "" };
            bail!(
                "{:?} is the beginning of {} ids: {}{more}; write more of it",
                text.to_string_lossy(),
                several.len(),
                names.join(", ")
            )
        }
    }
}

/// The same, connected to.
///
/// # Errors
///
/// As [`find`], and when it does not answer.
pub(crate) async fn connect(client: &Client, text: &OsStr) -> Result<Sandbox> {
    Ok(client.connect(&find(client, text).await?).await?)
}

async fn candidates(client: &Client, text: &OsStr) -> Result<Vec<SandboxId>> {
    // A whole id needs no look at all sandboxes.
    if let Ok(id) = sandbox_id(text)
        && id.as_str().starts_with(GENERATED.0)
        && id.as_str().len() == GENERATED.1
    {
        return Ok(vec![id]);
    }
    let beginning = text.to_string_lossy();
    // What no id can begin with is a slip, and explained as one.
    if beginning.is_empty() || !beginning.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-'))
    {
        return Ok(vec![sandbox_id(text)?]);
    }
    let ids: Vec<SandboxId> =
        client.list(ListFilter::default()).await?.into_iter().map(|info| info.id).collect();
    if let Some(exact) = ids.iter().find(|id| id.as_str() == beginning) {
        return Ok(vec![exact.clone()]);
    }
    Ok(ids.into_iter().filter(|id| id.as_str().starts_with(&*beginning)).collect())
}
