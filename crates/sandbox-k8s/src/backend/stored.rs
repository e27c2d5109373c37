//! Whether the objects of a creation have been stored.

use sandbox_core::{CreationError, CreationReason, CreationStage, Error, Result, SandboxId, Uid};

use crate::api::objects::ManagedKind;

/// Whether an object of a creation has been stored.
pub(super) enum Stored {
    No,
    /// A create was sent, and the response was an error or was lost.
    Unknown,
    Yes(Uid),
}

impl Stored {
    /// Returns `Unknown` if a create may still take effect and must be checked again, otherwise `No`.
    pub(super) fn unresolved(&self) -> Self {
        match self {
            Self::Unknown => Self::Unknown,
            Self::No | Self::Yes(_) => Self::No,
        }
    }
}

/// Returns the uid of an object that the API server has stored.
pub(super) fn stored_uid<K: ManagedKind>(object: &K, id: &SandboxId) -> Result<Uid> {
    let uid = object.meta().uid.as_deref().map(Uid::new);
    uid.ok_or_else(|| rejected(id, "the API server stored an object without a uid"))
}

/// The error of a creation that cannot continue.
pub(super) fn rejected(id: &SandboxId, message: &str) -> Error {
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
