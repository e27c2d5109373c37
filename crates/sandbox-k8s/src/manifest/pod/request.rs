//! All that goes into one Pod.

use sandbox_core::{SandboxId, SandboxSpec, Uid};

use crate::manifest::options::{KubernetesOptions, PodOptions};

/// All that goes into one Pod.
#[derive(Debug, Clone, Copy)]
pub struct PodParams<'a> {
    /// The sandbox's id, and the Pod's name.
    pub id: &'a SandboxId,
    /// Where it goes.
    pub namespace: &'a str,
    /// By which its sender recognises it; see [`NONCE`](crate::names::NONCE).
    pub nonce: &'a str,
    /// The uid of its Secret, which was stored before.
    pub secret: &'a Uid,
    /// What was asked for.
    pub spec: &'a SandboxSpec,
    /// What holds for all.
    pub options: &'a KubernetesOptions,
    /// What was asked for of Kubernetes alone, over [`KubernetesOptions::pod`].
    pub pod: &'a PodOptions,
}
