//! Helpers for the tests of all crates: real peers, faulty streams, a backend of one running server,
//! and a fake API server of Kubernetes (feature `apiserver`).

#[cfg(feature = "apiserver")]
pub mod apiserver;
pub mod faults;
pub mod peers;
mod single_sandbox_backend;

pub use single_sandbox_backend::SingleSandboxBackend;
