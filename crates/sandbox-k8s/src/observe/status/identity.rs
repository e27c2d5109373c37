//! What an id stands for on the cluster.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;

use super::view::PodView;
use crate::manifest::labels::NotManaged;

/// What an id stands for. All operations decide by the Pod of that name, and by nothing else: a Secret that is left
/// without a Pod is no sandbox, and a Pod whose labels or owner were changed is none any more.
#[derive(Debug, Clone)]
pub(crate) enum Identity {
    /// There is no such Pod, so the id is free.
    Free,
    /// The Pod is a sandbox.
    Sandbox(Arc<PodView>),
    /// The Pod is no sandbox of this SDK, for this reason. No operation may change or delete it.
    Foreign(NotManaged),
}

impl Identity {
    /// Decides by the Pod of that name, if there is one.
    pub(crate) fn from_pod(pod: Option<&Pod>) -> Self {
        match pod.map(PodView::from_pod) {
            None => Self::Free,
            Some(Ok(view)) => Self::Sandbox(Arc::new(view)),
            Some(Err(why)) => Self::Foreign(why),
        }
    }
}
