//! What the tests of every crate share: the conformance suite, peers, faulty streams, a backend of
//! one server, and a fake API server of Kubernetes (feature `apiserver`).

#[cfg(feature = "apiserver")]
pub mod apiserver;
pub mod faults;
mod one_server;
pub mod peers;

pub use one_server::OneServer;
