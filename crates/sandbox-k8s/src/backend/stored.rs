//! What of a sandbox is in the cluster.

use sandbox_core::{CreationError, CreationReason, CreationStage, Error, Result, SandboxId, Uid};

use crate::api::objects::ManagedKind;

/// Whether an object of ours is in the cluster.
pub(super) enum Stored {
    No,
    /// It was sent, and the answer was an error or none.
    Unknown,
    As(Uid),
}

impl Stored {
    /// What to look for once more, later.
    pub(super) fn again(&self) -> Self {
        if matches!(self, Self::Unknown) {
            Self::Unknown
        } else {
            Self::No
        }
    }
}

pub(super) fn uid_of<K: ManagedKind>(object: &K, id: &SandboxId) -> Result<Uid> {
    let uid = object.meta().uid.as_deref().map(Uid::new);
    uid.ok_or_else(|| refused(id, "the API server stored an object without a uid"))
}

pub(super) fn refused(id: &SandboxId, message: &str) -> Error {
    CreationError {
        id: id.clone(),
        stage: CreationStage::Provision,
        reason: CreationReason::Other,
        message: message.to_owned(),
        events: Vec::new(),
        log_tail: String::new(),
        source: None,
    }
    .into()
}
