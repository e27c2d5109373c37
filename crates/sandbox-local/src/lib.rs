//! Sandboxes on this machine: each is a confined process tree, without a cluster.
//!
//! This is the embedded backend, for laptops, tests and first steps. Each sandbox consists of a small
//! supervisor and, in its own namespaces, the same SSH server that a Pod runs. It is reached over a
//! Unix socket that only its owner can open. It outlives the program that created it, can be found
//! by its id, and ends by itself.
//!
//! It is for development and for trusted code, because the kernel is shared with everything else on
//! the machine. [`SandboxInfo`](sandbox_core::SandboxInfo) reports how a sandbox is isolated and which
//! limits are enforced.
//!
//! A program whose `main` begins with [`init`] needs no other file. The backend requires Linux 5.12 or
//! newer with user namespaces, or 6.12 with Landlock, which allows less inside
//! ([`IsolationLevel::Landlock`]). On other systems every creation fails with `Unsupported`.

#[cfg(target_os = "linux")]
mod linux;
mod options;
#[cfg(not(target_os = "linux"))]
mod unsupported;

#[cfg(target_os = "linux")]
pub use linux::{LocalBackend, UnixConnector, init};
pub use options::{IsolationLevel, LocalOptions};
#[cfg(not(target_os = "linux"))]
pub use unsupported::{LocalBackend, UnixConnector, init};
