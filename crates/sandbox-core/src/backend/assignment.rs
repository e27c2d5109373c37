//! What an existing sandbox gets: when a pool hands it out, or later.

use std::collections::BTreeMap;
use std::time::Duration;

use super::metadata::{check_annotations, check_label};
use crate::Result;

/// New labels, annotations and a new `ttl` of a sandbox, as
/// [`SandboxBackend::assign`](crate::SandboxBackend::assign) writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Assignment {
    /// Labels to add. They replace those with the same key.
    pub labels: BTreeMap<String, String>,
    /// Annotations to set. They replace those with the same key, and all other annotations stay.
    pub annotations: BTreeMap<String, String>,
    /// The sandbox ends this long after the assignment. `None` leaves its end as it is.
    pub ttl: Option<Duration>,
}

impl Assignment {
    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.annotations.is_empty() && self.ttl.is_none()
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
