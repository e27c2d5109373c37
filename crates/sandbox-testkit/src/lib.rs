//! What the tests of every crate share: the conformance suite, peers, faulty streams.

pub mod peers;
