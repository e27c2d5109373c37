//! Which sandbox somebody means.

use std::ffi::OsStr;

use anyhow::{Result, bail};
use sandbox::{Client, Error, ListFilter, Sandbox, SandboxId};

use crate::options::sandbox_id;

/// How the ids begin that are given when nobody chooses one.
const GENERATED: &str = "sbx-";
/// How many random characters follow.
const RANDOM: usize = 10;
/// Candidates that are named.
const NAMED: usize = 5;

/// The sandbox of this id, or the only one whose generated id begins so. A name that somebody chose
/// is meant as a whole only: `plum` said twice must not remove `plum-2`.
///
/// # Errors
///
/// When there is none, or more than one.
pub(crate) async fn find(client: &Client, text: &OsStr) -> Result<SandboxId> {
    match candidates(client, text).await?.as_slice() {
        [id] => Ok(id.clone()),
        [] => Err(Error::NotFound {
            id: sandbox_id(text)?,
        }
        .into()),
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
    let exact = sandbox_id(text);
    let beginning = text.to_str().filter(|text| begins_generated(text));
    match (exact, beginning) {
        // A whole id needs no look at all sandboxes.
        (Ok(id), _) if is_generated(id.as_str()) => Ok(vec![id]),
        (exact, Some(beginning)) => {
            let found = client.list(ListFilter::default()).await?;
            let ids: Vec<SandboxId> = found.into_iter().map(|info| info.id).collect();
            if let Some(id) = exact.ok().filter(|id| ids.contains(id)) {
                return Ok(vec![id]);
            }
            let meant =
                |id: &SandboxId| is_generated(id.as_str()) && id.as_str().starts_with(beginning);
            Ok(ids.into_iter().filter(meant).collect())
        }
        // What no id can be is a slip, and explained as one.
        (exact, None) => Ok(vec![exact?]),
    }
}

/// Whether a generated id can begin so. That they all begin alike says nothing about which is meant.
fn begins_generated(text: &str) -> bool {
    text.strip_prefix(GENERATED)
        .is_some_and(|rest| (1..=RANDOM).contains(&rest.len()) && is_random(rest))
}

fn is_generated(id: &str) -> bool {
    id.strip_prefix(GENERATED)
        .is_some_and(|rest| rest.len() == RANDOM && is_random(rest))
}

/// Digits and lower-case letters, without those that are easily misread.
fn is_random(word: &str) -> bool {
    word.bytes()
        .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'z') && !b"ilou".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_ids_are_told_from_names() {
        for _ in 0..100 {
            let id = SandboxId::generate().unwrap();
            assert!(is_generated(id.as_str()), "{id}");
            assert!(begins_generated(&id.as_str()[..5]), "{id}");
        }
        for name in [
            "plum",
            "sbx-production",
            "sbx-prod-eu-1",
            "sbx-k3v9q2xw7",
            "sbx-k3v9q2xw7dd",
        ] {
            assert!(!is_generated(name), "{name}");
        }
        for text in [
            "",
            "s",
            "sbx",
            "sbx-",
            "plum",
            "sbx-prod",
            "sbx-K",
            "sbx-k3v9q2xw7dd",
        ] {
            assert!(!begins_generated(text), "{text}");
        }
    }
}
