//! The objects that are sent to the cluster: options of Pods, and the manifests built from them. No I/O.

pub mod labels;
pub mod network_policy;
pub mod options;
mod place;
pub mod pod;
pub mod secret;
