//! Names that several modules agree on: of the backend, of parts of a Pod, and the keys of labels and
//! annotations.

/// The name of the backend in messages and in Endpoints.
pub(crate) const BACKEND: &str = "k8s";

/// The container that is the sandbox; the only one whose state counts.
pub const CONTAINER: &str = "sandbox";
/// The container that copies the server in, and the volume it copies to.
pub const SERVER: &str = "sandbox-server";
/// The volume with the public key for an image's own server.
pub const KEY: &str = "sandbox-key";
/// The port that our server listens on; above 1024, so that no privilege is needed.
pub const PORT: u16 = 2222;
/// The name of the port in the Pod.
pub const PORT_NAME: &str = "ssh";

/// Label: says that this SDK made the object. The watch selects by it.
pub const MANAGED_BY: &str = "sandbox.dev/managed-by";
/// The value of [`MANAGED_BY`].
pub const MANAGER: &str = "sandbox-sdk";
/// Label: the sandbox's id.
pub const ID: &str = "sandbox.dev/id";
/// Annotation: a random word of whoever sent the create, by which it recognises its own object
/// when the answer was lost.
pub const NONCE: &str = "sandbox.dev/nonce";
/// Annotation on a Pod: the uid of the Secret that owns it, which its owner reference repeats.
pub const OWNER_UID: &str = "sandbox.dev/owner-uid";
/// Annotation on a Pod: its soft end, in whole seconds after its creation. Not a point in
/// time, so that nobody's clock but the API server's counts.
pub const ENDS_AFTER: &str = "sandbox.dev/ends-after";
/// Annotation on a Pod: the id of the Lease that owns its Secret, for whoever sees only Pods. It
/// says that there is one to look for, and no more.
pub const LEASE: &str = "sandbox.dev/lease";
/// Annotation on a Pod: the login name.
pub const USER: &str = "sandbox.dev/user";
/// Annotation on a Pod: the host key of an image's own SSH server, once it was learned.
pub const HOST_KEY: &str = "sandbox.dev/host-key";
