//! Names that several modules agree on: of the backend, of the parts of a Pod, and the keys of labels and
//! annotations.

/// The name of the backend, in messages and settings.
pub(crate) const BACKEND: &str = "k8s";

/// The sandbox's container, the only one whose state counts.
pub const CONTAINER: &str = "sandbox";
/// The init container that copies `sandbox-sshd`, and the volume that it copies to.
pub const SERVER: &str = "sandbox-server";
/// The volume with the public key for an image's SSH server.
pub const KEY: &str = "sandbox-key";
/// The port of `sandbox-sshd`. Ports above 1024 need no privilege.
pub const PORT: u16 = 2222;
/// The name of the port in the Pod.
pub const PORT_NAME: &str = "ssh";

/// Label: this SDK created the object. The watch selects by this label.
pub const MANAGED_BY: &str = "sandbox.dev/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "sandbox-sdk";
/// Label: the sandbox's id.
pub const ID: &str = "sandbox.dev/id";

/// Label: the shared pool that a sandbox or a Lease belongs to. As all labels it only selects.
pub const POOL: &str = "sandbox.dev/pool";
/// Label: the key of what the sandboxes of a pool have in common. On the Lease of a pool it is an annotation.
pub const POOL_KEY: &str = "sandbox.dev/pool-key";
/// Label: the state of a sandbox in its pool.
pub const POOL_STATE: &str = "sandbox.dev/pool-state";
/// Annotation on a Pod: the random word of the claim that took it from its pool. It is never changed or removed.
pub const CLAIM: &str = "sandbox.dev/claim";
/// Annotation on a Pod: whether the cluster autoscaler may evict it. One that waits costs nothing to replace.
/// <https://github.com/kubernetes/autoscaler/blob/master/cluster-autoscaler/FAQ.md>
pub const SAFE_TO_EVICT: &str = "cluster-autoscaler.kubernetes.io/safe-to-evict";

/// Label on a Pod: what network policies let it reach. Without it, that is up to the policies of the namespace.
pub const EGRESS: &str = "sandbox.dev/egress";
/// The value of [`EGRESS`] of a Pod that is to reach nothing.
pub const EGRESS_NONE: &str = "none";
/// The NetworkPolicy that keeps such Pods from the network, as in `deploy/egress.yaml`.
pub const EGRESS_POLICY: &str = "sandbox-egress-none";

/// Annotation: a random value by which a client recognises its own object after the response to its create
/// was lost.
pub const NONCE: &str = "sandbox.dev/nonce";
/// Annotation on a Pod: the uid of the Secret that owns it, which the owner reference repeats.
pub const OWNER_UID: &str = "sandbox.dev/owner-uid";
/// Annotation on a Pod: its soft end, in whole seconds after its creation. It is no point in time, so that
/// only the API server's clock counts.
pub const ENDS_AFTER: &str = "sandbox.dev/ends-after";
/// Annotation on a Pod: what happens at its soft end, unless it ends then.
pub const ON_EXPIRY: &str = "sandbox.dev/on-expiry";
/// Annotation on a Pod: `true` if a client has paused the sandbox, so that its soft end stands still.
pub const PAUSED: &str = "sandbox.dev/paused";
/// Annotation on a Pod: the processors that it had reserved before it was paused, as JSON.
pub const PAUSED_CPU: &str = "sandbox.dev/paused-cpu";
/// Annotation on a Pod: by when a client must have connected to it, in whole seconds after its creation.
pub const READY_WITHIN: &str = "sandbox.dev/ready-within";
/// Annotation on a Pod: the id of the Lease that owns its Secret, for clients that see only Pods. It is only a
/// hint that such a Lease exists.
pub const LEASE: &str = "sandbox.dev/lease";
/// Annotations on a Pod: those that the user gave have keys under this domain, `KEY.annotations.sandbox.dev/NAME` for
/// `KEY/NAME`, so that none of another program is mistaken for one.
pub const ANNOTATIONS: &str = "annotations.sandbox.dev";
/// Annotation on a Pod: the login name.
pub const USER: &str = "sandbox.dev/user";
/// Annotation on a Pod: the host key of an image's SSH server, once it has been fetched.
pub const HOST_KEY: &str = "sandbox.dev/host-key";
