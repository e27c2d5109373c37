//! The directories of an uploaded tree: created before their content, with attributes set after it.

use std::collections::HashMap;
use std::sync::Arc;

use futures_util::{StreamExt, TryStreamExt, stream};
use sandbox_core::{
    Error, FileInfo, FileKind, FilePath, Result, Session, TargetPolicy, TransferReason,
};

use super::local_tree::Directory;
use super::refused_dirs::RefusedDirs;
use super::{DIRECTORIES_AT_ONCE, FILLABLE};
use crate::transfer::failures::Failures;

const SET_GROUP_ID: u32 = 0o2000;

/// The directories of the tree in the sandbox, by relative name.
pub(super) struct RemoteDirs {
    session: Arc<dyn Session>,
    remote: FilePath,
    states: HashMap<FilePath, State>,
    refused: RefusedDirs,
}

/// What is known of a directory in the sandbox.
#[derive(Clone, Copy)]
struct State {
    is_new: bool,
    /// Its group is that of its content: inherited from its parent, and kept.
    has_set_group_id: bool,
}

impl RemoteDirs {
    /// Creates the top directory, unless it exists.
    pub(super) async fn create(session: &Arc<dyn Session>, remote: FilePath) -> Result<Self> {
        let created = create_directory(session, &remote).await;
        let state = match created {
            // A parent is missing, or there is another reason, which this call reports.
            Err(Error::Transfer(error)) => {
                session.create_dir(&remote, true).await?;
                State {
                    is_new: error.reason == TransferReason::NotFound,
                    has_set_group_id: false,
                }
            }
            created => State::new(created?.as_ref(), false),
        };
        Ok(Self {
            session: Arc::clone(session),
            remote,
            states: HashMap::from([(FilePath::default(), state)]),
            refused: RefusedDirs::default(),
        })
    }

    /// Creates directories whose parents are of the level before. Returns how many.
    pub(super) async fn create_level(
        &mut self,
        level: &[Directory],
        failures: &Failures,
    ) -> Result<u64> {
        let mut possible = Vec::with_capacity(level.len());
        for directory in level {
            if self.refused.contains(&directory.name) {
                self.refused.insert(directory.name.clone());
            } else {
                possible.push(directory.name.clone());
            }
        }
        // Each future owns its values, because the compiler cannot prove that the whole is `Send`
        // otherwise.
        let creating = stream::iter(possible)
            .map(|name| {
                let session = Arc::clone(&self.session);
                let path = self.remote.join(&name);
                async move {
                    let created = create_directory(&session, &path).await;
                    if let Ok(Some(existing)) = &created
                        && existing.mode & FILLABLE != FILLABLE
                    {
                        // If this is refused, so are the files, each with its reason.
                        let mode = existing.mode | FILLABLE;
                        session.set_mode(&path, mode).await.ok();
                    }
                    (name, created)
                }
            })
            .buffer_unordered(DIRECTORIES_AT_ONCE);
        let mut count = 0;
        for (name, created) in creating.collect::<Vec<_>>().await {
            let existing = match created {
                Ok(existing) => existing,
                Err(error) => {
                    failures.record(&name, error)?;
                    self.refused.insert(name);
                    continue;
                }
            };
            count += 1;
            let inherits = self
                .states
                .get(parent_of(&name))
                .is_some_and(|parent| parent.has_set_group_id);
            self.states
                .insert(name, State::new(existing.as_ref(), inherits));
        }
        Ok(count)
    }

    /// Whether this is in a directory that could not be created.
    pub(super) fn is_refused(&self, name: &FilePath) -> bool {
        self.refused.contains(name)
    }

    /// What an upload to this file has to look at: nothing can be in a new directory.
    pub(super) fn policy(&self, file: &FilePath) -> TargetPolicy {
        match self.states.get(parent_of(file)) {
            Some(parent) if parent.is_new => TargetPolicy::New,
            _ => TargetPolicy::Replace,
        }
    }

    /// Sets the modes and times, the deepest directories first. An existing top directory keeps its
    /// own: it may be the home directory.
    pub(super) async fn finish(
        &self,
        top: &Directory,
        levels: &[Vec<Directory>],
        failures: &Arc<Failures>,
    ) -> Result<()> {
        for level in levels.iter().rev() {
            self.finish_level(level, failures).await?;
        }
        if self.states.get(&b""[..]).is_some_and(|state| state.is_new) {
            self.finish_level(std::slice::from_ref(top), failures)
                .await?;
        }
        Ok(())
    }

    async fn finish_level(&self, level: &[Directory], failures: &Arc<Failures>) -> Result<()> {
        let mut level = level.to_vec();
        level.retain(|directory| !self.refused.contains(&directory.name));
        let setting = stream::iter(level)
            .map(|directory| {
                let session = Arc::clone(&self.session);
                let failures = Arc::clone(failures);
                let path = if directory.name.is_empty() {
                    self.remote.clone()
                } else {
                    self.remote.join(&directory.name)
                };
                let inherited = match self.states.get(&directory.name) {
                    Some(state) if state.has_set_group_id => SET_GROUP_ID,
                    _ => 0,
                };
                async move {
                    let mode = directory.mode.map(|mode| mode | inherited);
                    let set = session.set_attributes(&path, mode, directory.modified);
                    match set.await {
                        Ok(()) => Ok(()),
                        Err(error) => failures.record(&directory.name, error),
                    }
                }
            })
            .buffer_unordered(DIRECTORIES_AT_ONCE);
        setting.try_collect::<()>().await
    }
}

impl State {
    fn new(existing: Option<&FileInfo>, inherits_group: bool) -> Self {
        Self {
            is_new: existing.is_none(),
            has_set_group_id: existing
                .map_or(inherits_group, |found| found.mode & SET_GROUP_ID != 0),
        }
    }
}

/// Creates a directory. Returns the one that exists, if there is one.
async fn create_directory(session: &Arc<dyn Session>, path: &FilePath) -> Result<Option<FileInfo>> {
    match session.create_dir(path, false).await {
        Ok(()) => Ok(None),
        Err(Error::Transfer(error)) if error.reason == TransferReason::AlreadyExists => {
            match session.stat(path, true).await {
                Ok(existing) if existing.kind == FileKind::Directory => Ok(Some(existing)),
                Ok(_) => Err(Error::Transfer(error)),
                Err(error) => Err(error),
            }
        }
        Err(error) => Err(error),
    }
}

/// Returns the name of the directory that an entry is in; that of the top is empty.
fn parent_of(name: &FilePath) -> &[u8] {
    let (directory, _) = name.split_name();
    directory.strip_suffix(b"/").unwrap_or(directory)
}
