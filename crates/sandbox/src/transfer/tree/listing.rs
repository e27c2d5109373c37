//! Lists a directory tree of a sandbox, within limits.

use std::sync::Arc;

use futures_util::{StreamExt, stream};
use sandbox_core::{
    Direction, Error, FileInfo, FileKind, FilePath, ListBudget, Result, Session, TransferReason,
};

use crate::handle::files::LISTINGS_AT_ONCE;
use crate::transfer::failures::Failures;
use crate::transfer::limits::TreeLimits;

/// What is below a directory.
pub(super) struct Listing {
    /// By relative name, parents before their children.
    pub(super) entries: Vec<(FilePath, FileInfo)>,
    /// The bytes of all files together.
    pub(super) bytes: u64,
}

/// Lists everything below a directory. A directory below it that cannot be listed is a failure of
/// its own.
pub(super) async fn list_tree(
    session: &Arc<dyn Session>,
    limits: TreeLimits,
    remote: &FilePath,
    failures: &Failures,
) -> Result<Listing> {
    let too_large = |path: &FilePath, what: &str| {
        let path = remote.join(path);
        Err(Error::transfer(
            Direction::Download,
            path,
            TransferReason::TooLarge,
            what,
            None,
        ))
    };
    // The listings share a budget, and the relative names in memory another one: in deep directories
    // they are much longer than the names.
    let budget = Arc::new(ListBudget::new(
        limits.entries,
        ListBudget::DEFAULT_NAME_BYTES,
    ));
    let names = ListBudget::default();
    let mut found = Listing {
        entries: Vec::new(),
        bytes: 0,
    };
    let mut depth = 0;
    let mut level = vec![FilePath::default()];
    while !level.is_empty() {
        if depth > limits.depth {
            return too_large(&level[0], "directories are nested deeper than the limit");
        }
        depth += 1;
        let mut listings = stream::iter(std::mem::take(&mut level))
            .map(|name| {
                let path = if name.is_empty() {
                    remote.clone()
                } else {
                    remote.join(&name)
                };
                list(Arc::clone(session), Arc::clone(&budget), path, name)
            })
            .buffer_unordered(LISTINGS_AT_ONCE);
        while let Some((directory, entries)) = listings.next().await {
            let entries = match entries {
                Ok(entries) => entries,
                Err(error) if directory.is_empty() || is_too_large(&error) => return Err(error),
                Err(error) => {
                    failures.record(&directory, error)?;
                    continue;
                }
            };
            for entry in entries {
                let name = directory.join(&entry.name);
                if entry.kind == FileKind::File {
                    found.bytes = found.bytes.saturating_add(entry.size);
                }
                if found.bytes > limits.bytes {
                    return too_large(&directory, "the files have more bytes than the limit");
                }
                if !names.take(0, name.len() as u64) {
                    return too_large(&directory, "the names have more bytes than the limit");
                }
                if entry.kind == FileKind::Directory {
                    level.push(name.clone());
                }
                found.entries.push((name, entry));
            }
        }
    }
    Ok(found)
}

async fn list(
    session: Arc<dyn Session>,
    budget: Arc<ListBudget>,
    path: FilePath,
    name: FilePath,
) -> (FilePath, Result<Vec<FileInfo>>) {
    let entries = session.list_within(&path, &budget).await;
    (name, entries)
}

fn is_too_large(error: &Error) -> bool {
    matches!(error, Error::Transfer(error) if error.reason == TransferReason::TooLarge)
}
