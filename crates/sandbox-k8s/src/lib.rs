//! Sandboxes as Kubernetes Pods.
//!
//! [`KubernetesBackend`] creates a Secret and a Pod for each sandbox, and follows all of them with one
//! shared watch. [`PodConnector`] opens byte streams to a Pod, to its address or through the API server.
//! The crate knows nothing of SSH: `sandbox-ssh` speaks it over these streams.
//!
//! The folders, from top to bottom; each imports only from those below it:
//!
//! | folder | content |
//! |---|---|
//! | `backend` | the operations: create, delete, diagnose, sweep, preflight |
//! | `connect` | streams to Pods, and when to try which route |
//! | `pool` | shared pools: how a claim and the election of a filler are decided |
//! | `observe` | the watch, the index of what it shows, the status of a Pod |
//! | `lease` | the Lease that owns the sandboxes of a long-lived process |
//! | `api` | requests to the API server: cluster, retries, meaning of a response |
//! | `manifest` | [`options`], and the Pod and Secret that are built from them |
//! | `names` | labels, annotations and other fixed names |
//!
//! The modules that decide do no I/O and read no clock: `observe::index`, `observe::status`,
//! `connect::attempts`, `api::classify` and all of `manifest`.
//!
//! The tests in `tests/faults/` run against an API server that loses responses. The manifests in
//! `tests/golden/` are compared word for word with what is sent.
//!
//! The crate uses `k8s-openapi` without choosing a version of Kubernetes: a program enables one of its
//! features (`v1_33` or later), or sets `K8S_OPENAPI_ENABLED_VERSION` as this workspace does.

mod api;
mod backend;
mod connect;
mod lease;
mod lock;
mod manifest;
mod names;
mod observe;
mod pool;

pub use api::cluster::{Cluster, ClusterOptions, connect as connect_cluster, open as open_cluster};
pub use backend::KubernetesBackend;
pub use connect::PodConnector;
pub use manifest::options;

/// For the tests of this workspace only. Anything here may change in any release.
#[doc(hidden)]
pub mod internals {
    pub use crate::manifest::{labels, network_policy, pod, secret};
    pub mod names {
        pub use crate::names::*;
    }
}
