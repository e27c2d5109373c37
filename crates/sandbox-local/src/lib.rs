//! Sandboxes on this machine: each is a confined process tree, without a cluster.
//!
//! This is the embedded backend, for laptops, tests and first steps. Each sandbox consists of a small
//! supervisor and, in its own namespaces, the same SSH server that a Pod runs. It is reached over a
//! Unix socket that only its owner can open. It outlives the program that created it, can be found
//! by its id, and ends by itself.
//!
//! It is for development and for trusted code, because the kernel is shared with everything else on
//! the machine. [`SandboxInfo`](sandbox_core::SandboxInfo) says how a sandbox is isolated and which
//! limits are enforced.
//!
//! A program whose `main` begins with [`init`] needs no other file. It requires Linux 5.12 or newer
//! with user namespaces, or 6.12 with Landlock, which allows less inside
//! ([`IsolationLevel::Landlock`]). On other systems everything is `Unsupported`.

mod options;

#[cfg(target_os = "linux")]
mod backend;
#[cfg(target_os = "linux")]
mod cgroup;
#[cfg(target_os = "linux")]
mod confine;
#[cfg(target_os = "linux")]
mod connector;
#[cfg(target_os = "linux")]
mod dead;
#[cfg(not(target_os = "linux"))]
mod elsewhere;
#[cfg(target_os = "linux")]
mod failure;
#[cfg(target_os = "linux")]
mod identity;
#[cfg(target_os = "linux")]
mod init;
#[cfg(target_os = "linux")]
mod plan;
#[cfg(target_os = "linux")]
mod record;
#[cfg(target_os = "linux")]
mod remove;
#[cfg(target_os = "linux")]
mod state;
#[cfg(target_os = "linux")]
mod supervisor;
#[cfg(target_os = "linux")]
mod sys;

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{LocalBackend, UnixConnector, init};
pub use options::{IsolationLevel, LocalOptions};
#[cfg(target_os = "linux")]
pub use {backend::LocalBackend, connector::UnixConnector, init::init};

/// The name of this backend.
pub(crate) const BACKEND: &str = "local";
