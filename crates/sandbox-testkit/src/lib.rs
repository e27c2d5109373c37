//! What the tests of every crate share: the conformance suite, peers, faulty streams, and a fake
//! API server of Kubernetes (feature `apiserver`).

#[cfg(feature = "apiserver")]
pub mod apiserver;
pub mod faults;
pub mod peers;
