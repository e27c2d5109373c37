//! From settings to a backend and its sessions. Only this folder depends on the crates of the
//! backends.

#[cfg(feature = "k8s")]
mod kubernetes;
#[cfg(feature = "local")]
mod local;
#[cfg(any(feature = "k8s", feature = "local"))]
mod parse;
#[cfg(feature = "k8s")]
mod server_programs;
#[cfg(any(feature = "k8s", feature = "local"))]
mod ssh;

use sandbox_config::{BackendKind, Settings};
use sandbox_core::Result;

use crate::parts::Parts;

/// What a program brings for a backend itself.
#[derive(Default)]
pub(crate) struct Extras {
    /// The SSH servers that are uploaded into Pods.
    #[cfg(feature = "k8s")]
    pub(crate) server_programs: sandbox_k8s::options::ServerPrograms,
}

/// Opens the backend that the settings choose.
pub(crate) async fn open(settings: &Settings, extras: Extras) -> Result<Parts> {
    match settings.backend {
        BackendKind::Local => local::open(settings),
        BackendKind::Kubernetes => kubernetes::open(settings, extras).await,
    }
}

#[cfg(not(feature = "local"))]
mod local {
    use sandbox_config::Settings;
    use sandbox_core::{Error, Result};

    use crate::parts::Parts;

    pub(super) fn open(_: &Settings) -> Result<Parts> {
        Err(Error::unsupported_because(
            "the local backend",
            "this program",
            "it was built without the feature `local` of the crate `sandbox`",
            "enable that feature, or set another SANDBOX_BACKEND",
        ))
    }
}

#[cfg(not(feature = "k8s"))]
mod kubernetes {
    use sandbox_config::Settings;
    use sandbox_core::{Error, Result};

    use super::Extras;
    use crate::parts::Parts;

    pub(super) async fn open(_: &Settings, _: Extras) -> Result<Parts> {
        Err(Error::unsupported_because(
            "the Kubernetes backend",
            "this program",
            "it was built without the feature `k8s` of the crate `sandbox`",
            "enable that feature, or set SANDBOX_BACKEND=local for sandboxes on this machine",
        ))
    }
}
