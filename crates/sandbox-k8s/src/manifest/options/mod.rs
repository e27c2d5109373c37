//! The options of Pods: for all sandboxes of a client, and for one.

mod injection;
mod kubernetes;
mod merge;
mod pod_options;
mod policies;
mod volume;

pub use injection::{AuthorizedKey, ImageServer, InjectVia, Injection};
pub use k8s_openapi::api::core::v1::{HostAlias, PodSecurityContext, SecurityContext, Toleration};
pub use kubernetes::KubernetesOptions;
pub use pod_options::PodOptions;
pub use policies::{PullPolicy, SecurityProfile, Transport};
pub use volume::{PodVolume, VolumeSource};
