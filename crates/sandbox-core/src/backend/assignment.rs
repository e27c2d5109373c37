//! What an existing sandbox gets: when a pool hands it out, or later.

use std::collections::BTreeMap;
use std::time::Duration;

use super::metadata::{check_annotations, check_label};
use crate::Result;
use crate::guest::OnExpiry;

/// What changes of a sandbox: labels, annotations, its `ttl` and whether it is paused, as
/// [`SandboxBackend::assign`](crate::SandboxBackend::assign) writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// Labels to add. They replace those with the same key.
    pub labels: BTreeMap<String, String>,
    /// Annotations to set. They replace those with the same key, and all other annotations stay.
    pub annotations: BTreeMap<String, String>,
    /// Marks the sandbox as paused, so that nobody deletes it at the end of its `ttl`, which stands still; or no longer.
    /// This does not pause it: its server does ([`guest`](crate::guest)).
    pub is_paused: Option<bool>,
    /// What happens at the end of the `ttl`, for those who would delete the sandbox then.
    pub on_expiry: Option<OnExpiry>,
    /// The sandbox ends this long after the assignment. `None` leaves its end as it is.
    pub ttl: Option<Duration>,
}

impl Assignment {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        let Self {
            labels,
            annotations,
            is_paused,
            on_expiry,
            ttl,
        } = self;
        labels.is_empty()
            && annotations.is_empty()
            && is_paused.is_none()
            && on_expiry.is_none()
            && ttl.is_none()
    }

    /// Checks labels and annotations, as [`SandboxSpec::validate`](crate::SandboxSpec::validate) does.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) naming the invalid value.
    pub fn validate(&self) -> Result<()> {
        self.labels
            .iter()
            .try_for_each(|(key, value)| check_label(key, value))?;
        check_annotations(&self.annotations)
    }

    /// Returns the annotations of a sandbox after this assignment.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`](crate::Error::Invalid) if the sandbox would have too many.
    pub fn merge_annotations(
        &self,
        current: &BTreeMap<String, String>,
    ) -> Result<BTreeMap<String, String>> {
        let mut merged = current.clone();
        merged.extend(self.annotations.clone());
        check_annotations(&merged)?;
        Ok(merged)
    }
}
