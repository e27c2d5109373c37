//! What is sent to the cluster: options of Pods, and the manifests made of them. No I/O.

pub mod labels;
pub mod options;
pub mod pod;
pub mod secret;
