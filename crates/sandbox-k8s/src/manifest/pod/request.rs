//! The parameters of one Pod.

use sandbox_core::{SandboxId, SandboxSpec, Uid};

use crate::manifest::labels::{PoolRef, SecretName, SecretRef};
use crate::manifest::options::{KubernetesOptions, PodOptions};

/// The parameters of one Pod.
#[derive(Debug, Clone, Copy)]
pub struct PodParams<'a> {
    /// The sandbox's id, and the Pod's name.
    pub id: &'a SandboxId,
    /// The namespace.
    pub namespace: &'a str,
    /// The nonce by which the client recognises it; see [`NONCE`](crate::names::NONCE).
    pub nonce: &'a str,
    /// The uid of its Secret, which was created before.
    pub secret: &'a Uid,
    /// The requested sandbox.
    pub spec: &'a SandboxSpec,
    /// The options of the client.
    pub options: &'a KubernetesOptions,
    /// The options of this sandbox, merged over [`KubernetesOptions::pod`].
    pub pod: &'a PodOptions,
    /// The shared pool that the sandbox is created for.
    pub pool: Option<&'a PoolRef>,
}

impl PodParams<'_> {
    /// Returns its Secret, whose name has the same nonce.
    pub(super) fn secret_ref(&self) -> SecretRef {
        SecretRef {
            name: SecretName::new(self.id, self.nonce),
            uid: self.secret.clone(),
        }
    }
}
