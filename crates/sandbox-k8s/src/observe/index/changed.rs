//! What own patch requests change of a sandbox.

use std::collections::BTreeMap;

use sandbox_core::OnExpiry;

use crate::manifest::labels::Expiry;
use crate::observe::status::PodView;

/// What patch requests change, as in the response to one. The state in a pool is apart, because it is ordered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Changed {
    ends: Expiry,
    on_expiry: OnExpiry,
    is_marked_paused: bool,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
}

impl Changed {
    pub(super) fn of(view: &PodView) -> Self {
        Self {
            ends: view.ends,
            on_expiry: view.on_expiry,
            is_marked_paused: view.is_marked_paused,
            labels: view.labels.clone(),
            annotations: view.annotations.clone(),
        }
    }

    /// Whether a view has it.
    pub(super) fn is_in(&self, view: &PodView) -> bool {
        self.ends == view.ends
            && self.on_expiry == view.on_expiry
            && self.is_marked_paused == view.is_marked_paused
            && self.labels == view.labels
            && self.annotations == view.annotations
    }

    /// Gives it to a view.
    pub(super) fn apply_to(&self, view: &mut PodView) {
        let Self {
            ends,
            on_expiry,
            is_marked_paused,
            labels,
            annotations,
        } = self;
        view.ends = *ends;
        view.on_expiry = *on_expiry;
        view.is_marked_paused = *is_marked_paused;
        view.labels.clone_from(labels);
        view.annotations.clone_from(annotations);
    }
}
