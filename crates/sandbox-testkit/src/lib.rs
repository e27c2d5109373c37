//! Helpers for the tests of all crates: real peers, faulty streams, a backend of one running server,
//! a fake API server of Kubernetes (feature `apiserver`), HTTPS origins (feature `https`), and the arguments of test programs.

#[cfg(feature = "apiserver")]
pub mod apiserver;
mod arguments;
pub mod faults;
#[cfg(feature = "https")]
pub mod https;
pub mod peers;
mod single_sandbox_backend;

pub use arguments::{read_arguments, run_trials};
pub use single_sandbox_backend::SingleSandboxBackend;
