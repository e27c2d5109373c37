//! Sandboxes as Kubernetes Pods.
//!
//! [`KubernetesBackend`] makes a Secret and a Pod for each sandbox, and learns all else from one
//! shared watch; [`PodConnector`] opens streams to a Pod, at its address or through the API
//! server. The crate does not know what goes over them: that is `sandbox-ssh`'s.
//!
//! What decides does no I/O and has no clock of its own:
//!
//! | module | decides |
//! |---|---|
//! | [`options`] | how sandboxes are made of Pods |
//! | [`pod`], [`secret`] | what is sent: the Pod, and the Secret with its keys that owns it |
//! | [`labels`] | which objects are ours, and when they end |
//! | [`status`] | what became of a Pod, and whether to wait for it |
//! | [`classify`] | what an answer means for what was being done |
//! | [`index`] | what is known of all sandboxes, and who is woken by news |
//!
//! In `tests/faults/` it meets an API server whose answers go astray.
//!
//! The manifests of `tests/golden/` are what is sent, word for word.
//!
//! It is built on `k8s-openapi` without choosing a version of Kubernetes: a program enables one
//! of its features (`v1_33` and later), or sets `K8S_OPENAPI_ENABLED_VERSION` as this workspace
//! does.

mod backend;
mod call;
pub mod classify;
mod client;
mod clock;
mod connect;
pub mod index;
pub mod labels;
mod lease;
mod objects;
pub mod options;
pub mod pod;
mod reap;
pub mod secret;
pub mod status;
mod watch;

pub use backend::KubernetesBackend;
pub use client::{Cluster, ClusterOptions, connect as connect_cluster, open as open_cluster};
pub use connect::PodConnector;
