//! The options of Pods: for all sandboxes of a client, and for one.

mod dep_info;
mod injection;
mod kubernetes;
mod merge;
mod pod_options;
mod policies;
mod server_programs;
mod volume;

pub use injection::{AuthorizedKey, ImageServer, InjectVia, Injection};
pub use k8s_openapi::api::core::v1::{HostAlias, PodSecurityContext, SecurityContext, Toleration};
pub use kubernetes::KubernetesOptions;
pub use pod_options::PodOptions;
pub use policies::{PullPolicy, SecurityProfile, Transport};
pub use server_programs::{Architecture, ServerPrograms};
pub(crate) use server_programs::{ServerProgram, to_hex};
pub use volume::{PodVolume, VolumeSource};
