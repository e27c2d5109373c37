//! What needs no interpreter: how errors and arguments of Python correspond to those of the SDK. `tests/core.rs` tests
//! it on machines without Python.

pub(crate) mod arguments;
pub(crate) mod fault;
pub(crate) mod kinds;
