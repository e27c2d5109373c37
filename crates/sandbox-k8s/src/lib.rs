//! Sandboxes as Kubernetes Pods: the half of that backend that needs no cluster.
//!
//! **Nothing here talks to a cluster yet.** There is no client, no watch and no connection, and
//! no implementation of [`SandboxBackend`](sandbox_core::SandboxBackend); the facade answers
//! `SANDBOX_BACKEND=k8s` with [`Unsupported`](sandbox_core::Error::Unsupported). What is here
//! decides, without I/O and without a clock of its own, what such a client will send and what
//! it will make of the answers:
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
//! The manifests of `tests/golden/` are what is sent, word for word.
//!
//! It is built on `k8s-openapi` without choosing a version of Kubernetes: a program enables one
//! of its features (`v1_33` and later), or sets `K8S_OPENAPI_ENABLED_VERSION` as this workspace
//! does.

mod backend;
mod call;
pub mod classify;
mod client;
mod connect;
pub mod index;
pub mod labels;
mod objects;
pub mod options;
pub mod pod;
mod reap;
pub mod secret;
pub mod status;
mod watch;

pub use backend::KubernetesBackend;
pub use client::{ClusterOptions, connect as connect_cluster};
pub use connect::PodConnector;
