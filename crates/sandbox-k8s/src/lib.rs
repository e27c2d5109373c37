//! Sandboxes as Kubernetes Pods.

pub mod classify;
pub mod labels;
pub mod options;
pub mod pod;
pub mod secret;
pub mod status;
